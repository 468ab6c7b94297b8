// Masks as canvases that are opaque where the picture is drawn anew.

const kInk = "#d2571a"; // seen over pictures; what counts is how opaque it is

export function canvasOf(width: number, height: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

const context = (canvas: HTMLCanvasElement): CanvasRenderingContext2D => canvas.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;

export interface Stroke {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
  size: number; // across
  erase: boolean;
}

export function stroke(canvas: HTMLCanvasElement, { x0, y0, x1, y1, size, erase }: Stroke): void {
  const paint = context(canvas);
  paint.globalCompositeOperation = erase ? "destination-out" : "source-over";
  paint.strokeStyle = kInk;
  paint.lineCap = "round";
  paint.lineWidth = size;
  paint.beginPath();
  paint.moveTo(x0, y0);
  paint.lineTo(x1 + 0.01, y1); // a line without length is not drawn
  paint.stroke();
}

export const clear = (canvas: HTMLCanvasElement): void => context(canvas).clearRect(0, 0, canvas.width, canvas.height);

export function invert(canvas: HTMLCanvasElement): void {
  const paint = context(canvas);
  paint.globalCompositeOperation = "xor";
  paint.fillStyle = kInk;
  paint.fillRect(0, 0, canvas.width, canvas.height);
}

// RGBA bytes of which some are not transparent.
export function isPainted(data: Uint8ClampedArray): boolean {
  for (let i = 3; i < data.length; i += 4) if (data[i] !== 0) return true;
  return false;
}

export const hasPaint = (canvas: HTMLCanvasElement): boolean => isPainted(context(canvas).getImageData(0, 0, canvas.width, canvas.height).data);

// The share of the picture that is drawn anew.
export function painted(data: Uint8ClampedArray): number {
  let sum = 0;
  for (let i = 3; i < data.length; i += 4) sum += data[i] as number;
  return data.length === 0 ? 0 : sum / ((data.length / 4) * 255);
}

export const share = (canvas: HTMLCanvasElement): number => painted(context(canvas).getImageData(0, 0, canvas.width, canvas.height).data);

// White on black, as the server takes it.
export function blackAndWhite(canvas: HTMLCanvasElement): HTMLCanvasElement {
  const out = canvasOf(canvas.width, canvas.height);
  const paint = context(out);
  paint.drawImage(canvas, 0, 0);
  paint.globalCompositeOperation = "source-in";
  paint.fillStyle = "#fff";
  paint.fillRect(0, 0, out.width, out.height);
  paint.globalCompositeOperation = "destination-over";
  paint.fillStyle = "#000";
  paint.fillRect(0, 0, out.width, out.height);
  return out;
}

// RGBA bytes of a grey picture become as opaque as they are bright.
export function brightnessToOpacity(data: Uint8ClampedArray): void {
  for (let i = 0; i < data.length; i += 4) data[i + 3] = data[i] as number;
}

export function fromBrightness(image: ImageBitmap): HTMLCanvasElement {
  const canvas = canvasOf(image.width, image.height);
  const paint = context(canvas);
  paint.drawImage(image, 0, 0);
  const all = paint.getImageData(0, 0, canvas.width, canvas.height);
  brightnessToOpacity(all.data);
  paint.putImageData(all, 0, 0);
  paint.globalCompositeOperation = "source-in";
  paint.fillStyle = kInk;
  paint.fillRect(0, 0, canvas.width, canvas.height);
  return canvas;
}

// A copy of another size, to paint on.
export function resized(canvas: HTMLCanvasElement, width: number, height: number): HTMLCanvasElement {
  const out = canvasOf(width, height);
  context(out).drawImage(canvas, 0, 0, width, height);
  return out;
}
