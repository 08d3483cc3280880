// The page: two tabs, and global events: drops, pastes and keys.

import {$, $$} from "./dom.js";
import * as pair from "./pair.js";
import * as batch from "./batch.js";

const tabs = $$("[role=tab]");
const shown = () => $("#many").hidden ? "one" : "many";

function choose(name, focus = false) {
  for (const tab of tabs) {
    const mine = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
    $(`#${tab.getAttribute("aria-controls")}`).hidden = !mine;
    if (mine && focus) tab.focus();
  }
  history.replaceState(null, "", name === "many" ? "#many" : location.pathname);
}

tabs.forEach((tab, at) => {
  tab.onclick = () => choose(tab.getAttribute("aria-controls"));
  tab.onkeydown = event => {
    const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: -1}[event.key];
    if (to !== undefined) choose(tabs.at(to % tabs.length).getAttribute("aria-controls"), true);
  };
});

// Without this, a drop outside a slot would navigate to the image.
const slotOf = event => event.target.closest?.(".slot");
addEventListener("dragover", event => {
  event.preventDefault();
  $$(".slot").forEach(slot => slot.classList.toggle("over", slot === slotOf(event)));
});
addEventListener("dragleave", event => { if (!event.relatedTarget) $$(".slot").forEach(slot => slot.classList.remove("over")); });
addEventListener("drop", event => {
  event.preventDefault();
  $$(".slot").forEach(slot => slot.classList.remove("over"));
  if (shown() === "many") batch.takeDrop(event.dataTransfer);
  else pair.takeAll([...event.dataTransfer.files], {side: slotOf(event)?.dataset.side});
});
addEventListener("paste", event => {
  const files = [...event.clipboardData?.files ?? []];
  if (!files.length) return;
  event.preventDefault();
  if (shown() === "many") batch.take(files.map(file => ({file})));
  else pair.takeAll(files, {unlike: "was pasted"});
});
const typing = event => event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input:not([type=range], [type=checkbox]), textarea");
addEventListener("keydown", event => { if (shown() === "one" && !typing(event)) pair.keydown(event); });
addEventListener("keyup", pair.keyup);

pair.start();
batch.start();
if (location.hash === "#many") choose("many");
fetch("about").then(reply => reply.json()).then(({model, trained}) => {
  $("#model").textContent = model;
  $("#trained").hidden = !trained;
  $("#trained").textContent = `Trained on ${trained}`;
});
