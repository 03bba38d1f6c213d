// A chain's frames as one file that moves. Frames are the server's PNGs: 8-bit greyscale, all of one size.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

const bytesOf = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

export const fromBase64 = (text) => bytesOf(atob(text));

function concat(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const CRCS = Uint32Array.from({length: 256}, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

const crc = (bytes) => ~bytes.reduce((sum, byte) => CRCS[(sum ^ byte) & 255] ^ (sum >>> 8), -1) >>> 0;

const u32 = (...numbers) => concat(numbers.map((n) => new Uint8Array([n >>> 24, n >>> 16, n >>> 8, n])));
const u16 = (n) => new Uint8Array([n >>> 8, n]);

function chunk(type, data) {
  const body = concat([bytesOf(type), data]);
  return concat([u32(data.length), body, u32(crc(body))]);
}

/** The chunks of a PNG: [type, data] each. */
function chunks(png) {
  const view = new DataView(png.buffer, png.byteOffset);
  const found = [];
  for (let at = SIGNATURE.length; at < png.length; at += 12 + view.getUint32(at)) {
    const type = String.fromCharCode(...png.subarray(at + 4, at + 8));
    found.push([type, png.subarray(at + 8, at + 8 + view.getUint32(at))]);
  }
  return found;
}

/** An APNG of these PNGs, repeated for ever: their compressed pixels are packed anew, not compressed again. */
export function apng(pngs, milliseconds) {
  const header = chunks(pngs[0]).find(([type]) => type === 'IHDR')[1];
  const size = header.subarray(0, 8);
  let sequence = 0;
  const parts = pngs.flatMap((png, i) => {
    const control = concat([u32(sequence++), size, u32(0, 0), u16(milliseconds[i]), u16(1000), new Uint8Array(2)]);
    const pixels = concat(chunks(png).filter(([type]) => type === 'IDAT').map(([, data]) => data));
    // A viewer that knows no APNG shows the first frame, which alone is in IDAT.
    const data = i === 0 ? chunk('IDAT', pixels) : chunk('fdAT', concat([u32(sequence++), pixels]));
    return [chunk('fcTL', control), data];
  });
  const whole = [new Uint8Array(SIGNATURE), chunk('IHDR', header), chunk('acTL', u32(pngs.length, 0)), ...parts,
    chunk('IEND', new Uint8Array(0))];
  return new Blob(whole, {type: 'image/apng'});
}

/** Grey values of a PNG, row by row. */
export async function greys(png) {
  const bitmap = await createImageBitmap(new Blob([png], {type: 'image/png'}));
  const canvas = Object.assign(document.createElement('canvas'), {width: bitmap.width, height: bitmap.height});
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(bitmap, 0, 0);
  const {data} = context.getImageData(0, 0, bitmap.width, bitmap.height);
  return {width: bitmap.width, height: bitmap.height, pixels: data.filter((_, i) => i % 4 === 0)};
}

/** GIF's LZW of bytes: codes of 9 to 12 bits, least bit first, in blocks of 255 bytes. */
function lzw(pixels) {
  const CLEAR = 256, END = 257, FULL = 4096;
  const out = [];
  let held = 0, bits = 0, width = 9, next = END + 1, table = new Map();
  const put = (code) => {
    held |= code << bits;
    for (bits += width; bits >= 8; bits -= 8, held >>>= 8) out.push(held & 255);
  };
  put(CLEAR);
  let prefix = pixels[0];
  for (let i = 1; i < pixels.length; i++) {
    const key = prefix << 8 | pixels[i];
    if (table.has(key)) {
      prefix = table.get(key);
      continue;
    }
    put(prefix);
    table.set(key, next++);
    if (next > 1 << width && width < 12) width++;
    if (next === FULL) {
      put(CLEAR);
      [width, next, table] = [9, END + 1, new Map()];
    }
    prefix = pixels[i];
  }
  put(prefix);
  put(END);
  if (bits > 0) out.push(held & 255);
  const blocks = [new Uint8Array([8])];
  for (let at = 0; at < out.length; at += 255) {
    const block = out.slice(at, at + 255);
    blocks.push(new Uint8Array([block.length, ...block]));
  }
  return concat([...blocks, new Uint8Array(1)]);
}

const le16 = (...numbers) => new Uint8Array(numbers.flatMap((n) => [n & 255, n >>> 8]));

/** A GIF of frames as `greys` gives them, with every grey of theirs, repeated for ever. */
export function gif(frames, milliseconds) {
  const {width, height} = frames[0];
  const palette = Uint8Array.from({length: 768}, (_, i) => Math.floor(i / 3));
  const loop = [new Uint8Array([0x21, 0xff, 11]), bytesOf('NETSCAPE2.0'), new Uint8Array([3, 1, 0, 0, 0])];
  const parts = frames.flatMap(({pixels}, i) => [
    new Uint8Array([0x21, 0xf9, 4, 4]), le16(Math.round(milliseconds[i] / 10)), new Uint8Array([0, 0]),
    new Uint8Array([0x2c]), le16(0, 0, width, height), new Uint8Array([0]), lzw(pixels)]);
  return new Blob([bytesOf('GIF89a'), le16(width, height), new Uint8Array([0xf7, 0, 0]), palette, ...loop, ...parts,
    new Uint8Array([0x3b])], {type: 'image/gif'});
}
