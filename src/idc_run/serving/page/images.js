// Image files: reading, resizing before upload, and encoding for the server.

const LONGEST = 2048;  // pixels; the model uses far fewer
const MOST_BYTES = 100e6;

async function kind(file) {
  const head = new Uint8Array(await file.slice(0, 12).arrayBuffer());
  const text = String.fromCharCode(...head);
  if (text.startsWith("\x89PNG")) return "image/png";
  if (text.startsWith("\xff\xd8\xff")) return "image/jpeg";
  return text.startsWith("RIFF") && text.endsWith("WEBP") ? "image/webp" : "";
}

async function decoded(url, failure) {
  const image = new Image();
  image.src = url;
  await image.decode().catch(() => { throw new Error(failure); });
  return image;
}

// Browsers show truncated files partly blank, and a copy would be a valid file of that; createImageBitmap rejects them.
async function whole(file) {
  const image = await createImageBitmap(file).catch(() => {
    throw new Error(`“${file.name}” is damaged: pixels are missing; choose the complete file.`);
  });
  image.close();
}

function drawn(source, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), {width, height});
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, 0, 0, width, height);
  return canvas;
}

const coded = (canvas, type) => new Promise((done, failed) =>
  canvas.toBlob(blob => blob ? done(blob) : failed(new Error("This browser cannot write images.")), type, 0.92));

// Prepares an image for upload: the unchanged file if the server accepts its format and it is small enough, otherwise a
// copy; `unlike` then says how it differs.
export async function prepare(file) {
  if (!file.size) throw new Error(`“${file.name}” is empty; choose a PNG, JPEG or WebP file.`);
  if (file.size > MOST_BYTES) throw new Error(`“${file.name}” has ${Math.round(file.size / 1e6)} MB; expected at most ${MOST_BYTES / 1e6}.`);
  const type = await kind(file), original = URL.createObjectURL(file);
  try {
    const image = await decoded(original, `“${file.name}” is not an image that this browser can read; choose a PNG, JPEG or WebP file.`);
    let {naturalWidth: width, naturalHeight: height} = image, blob = file.slice(0, file.size, type);
    let unlike = "";
    const given = `${width} × ${height}`, scale = Math.min(1, LONGEST / Math.max(width, height));
    if (scale < 1 || !type) {
      if (file.type !== "image/svg+xml") await whole(file);  // createImageBitmap does not accept SVG
      [width, height] = [width, height].map(side => Math.max(1, Math.round(scale * side)));
      blob = await coded(drawn(image, width, height), scale < 1 ? "image/jpeg" : "image/png");
      unlike = scale < 1 ? "was resized" : "was converted to PNG";
    }
    return {name: file.name, blob, url: URL.createObjectURL(blob), width, height, given, unlike};
  } finally {
    URL.revokeObjectURL(original);
  }
}

export const drop = image => image && URL.revokeObjectURL(image.url);

// Returns a data URI, which the server accepts.
export const base64 = blob => new Promise((done, failed) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result);
  reader.onerror = () => failed(new Error("The file can no longer be read; choose it again."));
  reader.readAsDataURL(blob);
});

// Decoded like `prepare`, because createImageBitmap rejects truncated files.
export async function thumbnail(blob, size = 128) {
  const url = URL.createObjectURL(blob);
  try {
    const image = await decoded(url, "The image can no longer be read; choose it again.");
    const scale = Math.min(1, size / Math.min(image.naturalWidth, image.naturalHeight));
    const sides = [image.naturalWidth, image.naturalHeight].map(side => Math.max(1, Math.round(scale * side)));
    return drawn(image, ...sides).toDataURL("image/jpeg", 0.8);
  } finally {
    URL.revokeObjectURL(url);
  }
}

// Turns a grey map into a layer of one colour, as opaque as the map is bright, in the shape of each image.
export async function coloured(dataUri, images) {
  const map = await decoded(dataUri, "The change map from the server is damaged.");
  return images.map(image => layer(map, image));
}

function layer(map, {width, height}) {
  const scale = 512 / Math.max(width, height);
  const canvas = drawn(map, ...[width, height].map(side => Math.max(1, Math.round(scale * side))));
  const pen = canvas.getContext("2d"), picture = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < picture.data.length; at += 4) picture.data.set([255, 20, 140, picture.data[at]], at);
  pen.putImageData(picture, 0, 0);
  return canvas;
}
