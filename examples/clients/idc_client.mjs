// Client of a served model for browsers and Node 18 or later, without dependencies.
//
//   const [said] = await caption("http://127.0.0.1:5001", [[before, after]], {num_captions: 3});
//   console.log(said.caption, said.changed);
//
// Sends the variable IDC_TOKEN (in Node) or the option `token` as a bearer token.
// Images are Blobs (for example a File from a form). Browsers can reach only the page's own server, such as idc-app: use the address "".

const AGAIN = [429, 502, 503, 504];  // busy or restarting

export async function caption(address, pairs, params = {}, {patience = 60_000, signal, token} = {}) {
  const secret = (token ?? globalThis.process?.env?.IDC_TOKEN ?? "").trim(), headers = {"Content-Type": "application/json"};
  if (/[^!-~]/.test(secret)) throw new RangeError("IDC_TOKEN is not a valid token: expected ASCII characters without spaces, on one line");
  if (secret) headers.Authorization = `Bearer ${secret}`;
  const inputs = await Promise.all(pairs.map(async ([before, after]) => ({before: await coded(before), after: await coded(after)})));
  const body = JSON.stringify({inputs, params}), giveUp = Date.now() + patience;
  for (let wait = 100; ; wait = Math.min(2 * wait, 5000)) {
    let message;
    try {
      const reply = await fetch(`${address.replace(/\/$/, "")}/invocations`, {
        method: "POST", headers, body, signal,
      });
      if (reply.ok) return (await reply.json()).predictions;
      message = await reply.json().then(told => told.message, () => `status ${reply.status}`);
      if ([401, 403].includes(reply.status)) message += "; set IDC_TOKEN to the server's token";
      if (!AGAIN.includes(reply.status)) throw new RangeError(message);
    } catch (error) {
      if (error instanceof RangeError || signal?.aborted) throw error;
      message = error.cause?.message ?? error.message;
    }
    if (Date.now() + wait > giveUp) throw new Error(`No answer from ${address}: ${message}`);
    await new Promise(done => setTimeout(done, wait * (0.5 + Math.random() / 2)));
  }
}

async function coded(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32_768) text += String.fromCharCode(...bytes.subarray(at, at + 32_768));
  return btoa(text);
}
