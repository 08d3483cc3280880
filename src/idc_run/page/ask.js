// One question to the server, and its errors as sentences.

import {base64} from "./images.js";

const AGAIN = new Set([429, 502, 503, 504]);  // busy, or being restarted
const pause = (ms, signal) => new Promise((done, failed) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); failed(signal.reason); }, {once: true});
});

// Gives {caption, log_prob, changed, alternatives, change_map, note}; a server of an older model leaves some out.
export async function ask(before, after, params, signal, tries = 4) {
  const [first, second] = await Promise.all([before, after].map(base64));
  const body = JSON.stringify({inputs: [{before: first, after: second}], params});
  for (let at = 1; ; at++) {
    let reply = null;
    try {
      reply = await fetch("invocations", {method: "POST", headers: {"Content-Type": "application/json"}, body, signal});
    } catch (error) {
      if (signal?.aborted) throw error;
      if (at === tries) throw new Error("The server cannot be reached; is idc-app still running?");
    }
    if (reply?.ok) return (await reply.json()).predictions[0];
    if (reply && (!AGAIN.has(reply.status) || at === tries)) throw new Error(await sentence(reply));
    await pause(400 * 2 ** at * (0.75 + Math.random() / 2), signal);
  }
}

async function sentence(reply) {
  const text = await reply.text();
  try {
    // There was one pair, so its row says nothing; MLflow tells what it was given before it tells what is wrong.
    const said = JSON.parse(text).message.split("Error: ").pop().replace(/^row 0, /, "").trim();
    return `The server refuses this pair: ${said}${/[.!?]$/.test(said) ? "" : "."}`;
  } catch {
    return `The server answers with an error (${reply.status}); its log says more.`;
  }
}
