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

function loadParts(root) {
  for (const part of root.querySelectorAll("[data-part]")) {
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
}

loadParts(document);

// A page that follows a run or the newest versions: it asks what the state is, and when that is another one,
// for itself, and takes over the part that is followed.
const FOLLOW_MS = 2000;

async function follow(id) {
  const part = document.getElementById(id);
  if (!part || !part.dataset.follow) return;
  let wait = FOLLOW_MS;
  const here = part.closest("main");
  const busy = () => document.hidden || (part === here && here.contains(document.activeElement));
  if (!busy()) {
    const begun = performance.now();
    try {
      const progress = await (await fetch(part.dataset.follow, { credentials: "same-origin" })).json();
      if (progress.state !== part.dataset.state) {
        const answer = await fetch(location.href, { credentials: "same-origin" });
        if (answer.ok) await takeOver(id, await answer.text());
        wait = Math.max(FOLLOW_MS, 4 * (performance.now() - begun));
      }
      if (progress.finished) {
        document.getElementById(id).removeAttribute("data-follow");
        say("The run is finished.");
        return;
      }
    } catch (error) {
      say("Not live: the explorer does not answer (" + error.message + ").");
    }
  }
  setTimeout(follow, wait, id);
}

async function takeOver(id, html) {
  // Parsed apart: scripts in it would not run, and what rows say is text in it.
  const fresh = new DOMParser().parseFromString(html, "text/html").getElementById(id);
  const part = document.getElementById(id);
  if (!fresh || !part) return;
  const open = [...part.querySelectorAll("details")].map((one) => one.open);
  part.replaceWith(fresh);
  [...fresh.querySelectorAll("details")].forEach((one, place) => (one.open = open[place] ?? one.open));
  loadParts(fresh);
}

function say(text) {
  const status = document.querySelector("[data-live-status]");
  if (status) status.textContent = text;
}

follow("live");
follow("main");

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
