// Many files: reads zips and folders, and pairs the images.

const MOST_FILES = 20_000;
const MOST_BYTES = 64e6;  // of one unpacked image, against zip bombs
const IMAGE = /\.(png|jpe?g|webp|bmp|gif|avif|heic)$/i;

// Each file has a path and an `open()` that returns a File, so that files are unpacked only when needed.
const plain = (file, path) => ({path: path || file.webkitRelativePath || file.name, open: async () => file});

export async function gather(files) {
  const found = [];
  for (const {file, path} of files) {
    if (/\.zip$/i.test(file.name)) found.push(...await unzip(file));
    else found.push(plain(file, path));
  }
  // Archives from macOS contain a resource fork of every file.
  return found.filter(({path}) => !/(^|\/)(\.|__MACOSX\/)/.test(path));
}

// The dropped files, including those in folders.
export async function dropped(transfer) {
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map(file => ({file}));
  const found = [];
  async function walk(entry) {
    if (found.length > MOST_FILES) throw new Error(`There are more than ${MOST_FILES} files; choose fewer at a time.`);
    if (entry.isFile) found.push({file: await new Promise((done, failed) => entry.file(done, failed)), path: entry.fullPath.slice(1)});
    else {
      const reader = entry.createReader();
      for (;;) {  // readEntries returns a folder in parts
        const part = await new Promise((done, failed) => reader.readEntries(done, failed));
        if (!part.length) break;
        for (const inner of part) await walk(inner);
      }
    }
  }
  for (const entry of entries) await walk(entry);
  return found;
}

// Reads the files of a zip (PKWARE's APPNOTE.TXT, 4.3.7 and 4.3.12) from the directory at its end.
async function unzip(file) {
  const broken = what => new Error(`“${file.name}” cannot be unpacked: ${what}.`);
  const view = async (start, end) => new DataView(await file.slice(start, end).arrayBuffer());
  const tail = Math.max(0, file.size - 65_557), end = await view(tail, file.size);
  let at = end.byteLength - 22;
  while (at >= 0 && end.getUint32(at, true) !== 0x06054b50) at--;
  if (at < 0) throw broken("it is not a complete zip file");
  const count = end.getUint16(at + 10, true), start = end.getUint32(at + 16, true);
  if (start === 0xffffffff || count === 0xffff) throw broken("it is too large for this page; unpack it and choose the folder");
  if (count > MOST_FILES) throw broken(`it holds ${count} files, expected at most ${MOST_FILES}`);
  const directory = await view(start, tail + at), found = [];
  let place = 0;
  for (let number = 0; number < count; number++) {
    if (place + 46 > directory.byteLength || directory.getUint32(place, true) !== 0x02014b50) throw broken("its directory is damaged");
    const [flags, method] = [8, 10].map(offset => directory.getUint16(place + offset, true));
    const [packed, size] = [20, 24].map(offset => directory.getUint32(place + offset, true));
    const [name, extra, comment] = [28, 30, 32].map(offset => directory.getUint16(place + offset, true));
    const header = directory.getUint32(place + 42, true);
    const path = new TextDecoder(flags & 0x800 ? "utf-8" : "latin1").decode(new Uint8Array(directory.buffer, place + 46, name));
    place += 46 + name + extra + comment;
    if (path.endsWith("/")) continue;
    found.push({path, open: async () => {
      if (flags & 1) throw new Error(`“${path}” is encrypted; unpack the zip first.`);
      if (size > MOST_BYTES) throw new Error(`“${path}” has ${Math.round(size / 1e6)} MB unpacked; expected at most ${MOST_BYTES / 1e6}.`);
      if (method !== 0 && method !== 8) throw new Error(`“${path}” uses a compression method that this page does not support; unpack the zip first.`);
      const local = await view(header, header + 30);
      const begin = header + 30 + local.getUint16(26, true) + local.getUint16(28, true);
      const slice = file.slice(begin, begin + packed);
      return new File([method ? await inflate(slice, size, path) : slice], path.split("/").pop());
    }});
  }
  return found;
}

async function inflate(slice, size, path) {
  const reader = slice.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader(), parts = [];
  let total = 0;
  try {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) break;
      total += value.byteLength;
      if (total > size) throw 0;  // larger than declared
      parts.push(value);
    }
    if (total !== size) throw 0;
  } catch {
    reader.cancel().catch(() => {});
    throw new Error(`“${path}” is damaged in the zip.`);
  }
  return new Blob(parts);
}

// Returns rows of {before, after, more (other columns)}, the names of the other columns, and images without a partner.
export async function pairUp(files) {
  const tables = files.filter(({path}) => /\.csv$/i.test(path)), images = files.filter(({path}) => IMAGE.test(path));
  if (tables.length > 1) throw new Error(`There are ${tables.length} CSV files; choose one.`);
  return tables.length ? byTable(await (await tables[0].open()).text(), tables[0].path, images) : byName(images);
}

function byTable(text, name, images) {
  const [head, ...lines] = parseCsv(text);
  const columns = (head ?? []).map(each => each.trim());
  const sides = ["before", "after"].map(side => columns.findIndex(each => each.toLowerCase() === side));
  if (sides.includes(-1)) throw new Error(`“${name}” has the columns ${columns.join(", ") || "(none)"}; expected before and after among them.`);
  const paths = new Map(images.map(file => [file.path, file]));
  const byEnd = given => {
    const path = given.replaceAll("\\", "/").replace(/^(\.?\/)+/, "");
    const ends = paths.has(path) ? [paths.get(path)] : images.filter(file => file.path.endsWith(`/${path}`));
    return ends.length === 1 ? ends[0] : {path: given, open: async () => {
      throw new Error(ends.length ? `There are ${ends.length} files named “${given}”.` : `The file “${given}” is missing.`);
    }};
  };
  const others = columns.filter((_, at) => !sides.includes(at));
  const rows = lines.filter(cells => cells.some(Boolean)).map(cells => ({
    before: byEnd(cells[sides[0]] ?? ""), after: byEnd(cells[sides[1]] ?? ""),
    names: sides.map(at => cells[at] ?? ""), more: columns.map((_, at) => cells[at] ?? "").filter((_, at) => !sides.includes(at)),
  }));
  return {rows, columns: others, alone: []};
}

function byName(images) {
  const waiting = new Map();
  for (const file of images) {
    const parts = file.path.replace(IMAGE, "").split("/");
    let side = "", key = "";
    for (let at = parts.length - 1; at >= 0 && !side; at--) {  // the file name has precedence over folder names
      const found = /(^|[^a-z])(before|after)([^a-z]|$)/i.exec(parts[at]) ?? (at < parts.length - 1 ? /^()(A|B)()$/.exec(parts[at]) : null);
      if (!found) continue;
      side = {before: "before", a: "before", after: "after", b: "after"}[found[2].toLowerCase()];
      key = parts.map((part, place) => place === at ? part.replace(found[2], "") : part).join("/").toLowerCase();
    }
    const entry = waiting.get(side ? key : file.path) ?? {};
    waiting.set(side ? key : file.path, entry);
    if (entry[side]) throw new Error(`“${entry[side].path}” and “${file.path}” are both “${side}” of the same pair; rename one, or add a CSV.`);
    entry[side || "neither"] = file;
  }
  const entries = [...waiting.values()], whole = entries.filter(({before, after}) => before && after);
  const rows = whole.map(({before, after}) => ({before, after, names: [before.path, after.path], more: []}));
  rows.sort((one, other) => one.before.path.localeCompare(other.before.path, "en", {numeric: true}));
  const alone = entries.filter(entry => !whole.includes(entry)).flatMap(entry => Object.values(entry)).map(({path}) => path);
  return {rows, columns: [], alone};
}

// RFC 4180; also semicolons or tabs, if the header has them.
export function parseCsv(text) {
  text = text.replace(/^\ufeff/, "");
  const head = text.split(/\r?\n/, 1)[0], mark = [",", ";", "\t"].sort((one, other) => head.split(other).length - head.split(one).length)[0];
  const rows = [[]];
  let cell = "", inside = false;
  for (let at = 0; at < text.length; at++) {
    const sign = text[at];
    if (inside) {
      if (sign !== '"') cell += sign;
      else if (text[at + 1] === '"') cell += text[++at];
      else inside = false;
    } else if (sign === '"') inside = true;
    else if (sign === mark || sign === "\n") {
      rows.at(-1).push(cell);
      cell = "";
      if (sign === "\n") rows.push([]);
    } else if (sign !== "\r") cell += sign;
  }
  rows.at(-1).push(cell);
  return rows.filter(cells => cells.length > 1 || cells[0]);
}

export const writeCsv = rows => rows.map(cells => cells.map(value => {
  const text = value == null ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}).join(",")).join("\r\n") + "\r\n";
