// Keys, and parts of a page that are loaded after it. The page works without this file.
"use strict";

document.addEventListener("keydown", (event) => {
  const field = event.target.closest("input, textarea, select");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("[data-submit]")) {
    event.target.form.requestSubmit();
    return;
  }
  if (event.key === "Escape" && field) {
    field.blur();
    return;
  }
  if (field || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    const search = document.querySelector("[data-search]") || document.querySelector("input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  } else if (event.key === "n") {
    document.querySelector("a[rel=next]")?.click();
  } else if (event.key === "p") {
    const previous = document.querySelector("a[rel=prev]");
    if (previous) previous.click();
    else history.back();
  } else if (event.key === "g") {
    document.querySelector("a.brand")?.click();
  }
});

for (const part of document.querySelectorAll("[data-part]")) {
  fetch(part.dataset.part, { credentials: "same-origin" })
    .then((answer) => (answer.ok ? answer.text() : Promise.reject(new Error(answer.status))))
    .then((html) => {
      part.innerHTML = html; // escaped by the server; the content policy forbids inline scripts
      part.dataset.loaded = "yes";
    })
    .catch((error) => {
      part.append(" cannot be loaded: " + error.message);
    });
}

// Empty choices stay out of the address.
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", () => {
    for (const field of form.elements) {
      if (field.name && !field.value && field.name !== "q") field.disabled = true;
    }
    const operator = form.elements.new_operator;
    if (operator && operator.disabled) {
      form.elements.new_column.disabled = true;
      form.elements.new_value.disabled = true;
    }
  });
}
