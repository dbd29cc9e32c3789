// Completion of the SQL box, and questions saved in this browser. The box works without this file.
"use strict";

const box = document.querySelector("textarea[data-complete]");
const list = document.getElementById("suggestions");
const MOST = 12;
let words = null;
let options = [];
let chosen = 0;

async function loadWords() {
  words ??= await (await fetch(box.dataset.complete, { credentials: "same-origin" })).json();
  return words;
}

// What is typed before the cursor: `prefix`, and the table or alias before a point.
function typed() {
  const before = box.value.slice(0, box.selectionStart);
  const match = /(?:(\w+)\.)?(\w*)$/.exec(before);
  return { qualifier: match[1], prefix: match[2], start: box.selectionStart - match[2].length };
}

function tablesInQuery() {
  const names = {};
  for (const [, table, alias] of box.value.matchAll(/\b(?:from|join)\s+(\w+)(?:\s+(?:as\s+)?(\w+))?/gi)) {
    if (!words.tables[table]) continue;
    names[table] = table;
    if (alias) names[alias] = table;
  }
  return names;
}

function candidates({ qualifier, prefix }) {
  const used = tablesInQuery();
  const items = [];
  const add = (names, kind) => names.forEach((text) => items.push({ text, kind }));
  if (qualifier) {
    add(words.tables[used[qualifier] ?? qualifier] ?? [], "column");
  } else {
    for (const table of new Set(Object.values(used))) add(words.tables[table], `column of ${table}`);
    add(Object.keys(words.tables), "table");
    add(words.functions, "function");
    add(words.keywords, "keyword");
  }
  const wanted = prefix.toLowerCase();
  const unique = new Map();
  for (const item of items) {
    const name = item.text.toLowerCase();
    if (name.startsWith(wanted) && name !== wanted && !unique.has(name)) unique.set(name, item);
  }
  return [...unique.values()].slice(0, MOST);
}

function close() {
  options = [];
  list.hidden = true;
  box.setAttribute("aria-expanded", "false");
  box.removeAttribute("aria-activedescendant");
}

function show() {
  list.replaceChildren(
    ...options.map((option, place) => {
      const item = document.createElement("li");
      item.id = `suggestion-${place}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(place === chosen));
      const kind = document.createElement("span");
      kind.className = "quiet";
      kind.textContent = option.kind;
      item.append(option.text, " ", kind);
      item.addEventListener("mousedown", (event) => {
        event.preventDefault();
        chosen = place;
        accept();
      });
      return item;
    }),
  );
  list.hidden = false;
  box.setAttribute("aria-expanded", "true");
  box.setAttribute("aria-activedescendant", `suggestion-${chosen}`);
}

function accept() {
  const { start } = typed();
  const { text, kind } = options[chosen];
  box.setRangeText(kind === "function" ? `${text}(` : text, start, box.selectionStart, "end");
  close();
  box.focus();
}

async function suggest(always) {
  await loadWords();
  const at = typed();
  if (!always && !at.prefix && !at.qualifier) return close();
  options = candidates(at);
  chosen = 0;
  if (options.length) show();
  else close();
}

if (box && list) {
  box.addEventListener("input", () => suggest(false));
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    if (event.key === " " && event.ctrlKey) {
      event.preventDefault();
      suggest(true);
    } else if (list.hidden || event.ctrlKey || event.metaKey) {
      return;
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : options.length - 1)) % options.length;
      show();
    } else if (event.key === "Tab" || event.key === "Enter") {
      event.preventDefault();
      accept();
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      close();
    }
  });
}

// Questions of the user. They stay in this browser, because the explorer writes nothing.
const KEY = "spo-questions";
const mine = document.getElementById("my-questions");
const saved = () => JSON.parse(localStorage.getItem(KEY) ?? "[]");

function listSaved() {
  mine.replaceChildren(
    ...saved().map(({ name, query }) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      const address = new URL(location.href);
      address.search = new URLSearchParams({ q: query, at: mine.dataset.at });
      link.href = address.pathname + address.search;
      link.textContent = name;
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "Remove";
      remove.setAttribute("aria-label", `Remove ${name}`);
      remove.addEventListener("click", () => {
        localStorage.setItem(KEY, JSON.stringify(saved().filter((one) => one.name !== name)));
        listSaved();
      });
      item.append(link, " ", remove);
      return item;
    }),
  );
}

document.getElementById("save-question")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = event.target.elements.namedItem("question").value.trim();
  if (!name || !box.value.trim()) return;
  const others = saved().filter((one) => one.name !== name);
  localStorage.setItem(KEY, JSON.stringify([...others, { name, query: box.value }]));
  event.target.reset();
  listSaved();
});
if (mine) listSaved();
