// Earlier pairs with their images in the browser's database; without one (a private window) only while the page is open.

const MOST = 24;
const memory = new Map();

function open() {
  return new Promise((done, failed) => {
    const request = indexedDB.open("idc", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("pairs", {keyPath: "id"});
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
}

async function run(mode, work) {
  const base = await open();
  try {
    return await new Promise((done, failed) => {
      const transaction = base.transaction("pairs", mode), request = work(transaction.objectStore("pairs"));
      transaction.oncomplete = () => done(request.result);
      transaction.onabort = transaction.onerror = () => failed(transaction.error);
    });
  } finally {
    base.close();
  }
}

const newestFirst = entries => entries.sort((one, other) => other.id - one.id);

// Entries: {id (a time), before, after (blob, name, width, height, given, unlike, thumbnail), params, reply}.
export async function all() {
  try {
    return newestFirst(await run("readonly", store => store.getAll()));
  } catch {
    return newestFirst([...memory.values()]);
  }
}

export async function remember(entry) {
  try {
    await run("readwrite", store => store.put(entry));
    for (const old of (await all()).slice(MOST)) await run("readwrite", store => store.delete(old.id));
  } catch {
    memory.set(entry.id, entry);
  }
}

export async function forget() {
  memory.clear();
  try { await run("readwrite", store => store.clear()); } catch { /* there was none */ }
}
