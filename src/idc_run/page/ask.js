// One question to the server, and its errors as sentences.

import {toast} from "./dom.js";
import {base64} from "./images.js";

const AGAIN = new Set([429, 502, 503, 504]);  // busy, or being restarted
const PATIENCE = 60_000;  // a server takes up to 20 seconds to start
const pause = (ms, signal) => new Promise((done, failed) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); failed(signal.reason); }, {once: true});
});

// Gives {caption, log_prob, changed, alternatives, change_map, note}; a server of an older model leaves some out.
export async function ask(before, after, params, signal) {
  const [first, second] = await Promise.all([before, after].map(base64));
  const body = JSON.stringify({inputs: [{before: first, after: second}], params});
  const giveUp = Date.now() + PATIENCE;
  for (let wait = 400; ; wait = Math.min(2 * wait, 5000)) {
    const last = Date.now() + wait > giveUp;
    let reply = null;
    try {
      reply = await fetch("invocations", {method: "POST", headers: {"Content-Type": "application/json"}, body, signal});
    } catch (error) {
      if (signal?.aborted) throw error;
      if (last) throw new Error("The server cannot be reached; is idc-app still running?");
    }
    if (reply?.ok) return (await reply.json()).predictions[0];
    if (reply && (!AGAIN.has(reply.status) || last)) throw new Error(await sentence(reply));
    toast(reply ? "The server is busy; asking again …" : "The server cannot be reached; asking again …");
    await pause(wait * (0.75 + Math.random() / 2), signal);
  }
}

async function sentence(reply) {
  const text = await reply.text();
  try {
    const said = JSON.parse(text).message.replace(/^row 0, /, "");  // there was one pair: its row says nothing
    return `The server refuses this pair: ${said}${/[.!?]$/.test(said) ? "" : "."}`;
  } catch {
    return `The server answers with an error (${reply.status}); its log says more.`;
  }
}
