// Helpers for all parts of the page.

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

export function el(name, properties = {}, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

export function percent(part) {
  if (part > 0 && part < 0.0005) return "< 0.1 %";
  if (part < 1 && part >= 0.9995) return "> 99.9 %";
  return part === 0 || part === 1 ? `${100 * part} %` : `${(100 * part).toPrecision(part < 0.1 ? 2 : 3)} %`;
}
export const many = (count, one, more = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;

let falling;
export function toast(text) {
  const box = $("#toast");
  box.textContent = text;
  box.classList.add("up");
  clearTimeout(falling);
  falling = setTimeout(() => box.classList.remove("up"), 1800);
}

export async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // the clipboard API needs https or localhost
    const area = el("textarea", {value: text});
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(said);
}

export function download(name, blob) {
  const link = el("a", {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Persistent view settings; a private window does not keep them.
export const kept = {
  get(key, otherwise) {
    try { return JSON.parse(localStorage.getItem(`idc/${key}`)) ?? otherwise; } catch { return otherwise; }
  },
  set(key, value) {
    try { localStorage.setItem(`idc/${key}`, JSON.stringify(value)); } catch { /* storage is unavailable */ }
  },
};
