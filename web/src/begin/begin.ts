// The picture that the next job begins from, and what of it is drawn anew.
import type { Files } from "../api/client";
import { request } from "../api/client";
import type { Info, Job, KeptPicture, NewJob } from "../api/types";
import { bytes } from "../format/format";
import { modelOf, type Draft, type Problems } from "../state/draft";
import { createStore } from "../state/store";
import { blackAndWhite, canvasOf, fromBrightness } from "./mask";

export interface Begin {
  source: Blob | KeptPicture; // kept: the server has it
  url: string; // for <img>
  width: number;
  height: number;
}

export interface Mask {
  canvas: HTMLCanvasElement; // opaque where it is drawn anew
  overlay: string; // the same as an address
}

export const begin = createStore<Begin | null>(null);
export const mask = createStore<Mask | null>(null);

const kSent = ["image/png", "image/jpeg", "image/webp"];

// Others that the browser knows become PNG.
async function sendable(file: Blob, bitmap: ImageBitmap): Promise<Blob> {
  if (kSent.includes(file.type)) return file;
  const canvas = canvasOf(bitmap.width, bitmap.height);
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
  return pngOf(canvas);
}

const pngOf = (canvas: HTMLCanvasElement): Promise<Blob> =>
  new Promise((done, failed) => canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("The mask could not be made a picture."))), "image/png"));

function replace(next: Begin | null): void {
  const before = begin.get();
  begin.set(next);
  mask.set(null);
  if (before && before.source instanceof Blob) URL.revokeObjectURL(before.url);
}

export const forget = (): void => replace(null);

export async function beginFrom(file: Blob): Promise<Begin> {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) throw new Error("This file is no picture that can be read here: expected PNG, JPEG or WebP.");
  const source = await sendable(file, bitmap);
  const made = { source, url: URL.createObjectURL(source), width: bitmap.width, height: bitmap.height };
  bitmap.close();
  replace(made);
  return made;
}

// A picture that this server has drawn.
export const beginFromUrl = async (url: string): Promise<Begin> => beginFrom(await (await request(url)).blob());

// What a job began from; its mask can be painted on.
export async function beginAsJob(job: Job): Promise<void> {
  const kept = job.request.init_image;
  if (!kept) return replace(null);
  replace({ source: kept, url: `/api/jobs/${job.id}/init_image.png`, width: kept.width, height: kept.height });
  if (!job.request.mask) return;
  const wanted = begin.get();
  const bitmap = await createImageBitmap(await (await request(`/api/jobs/${job.id}/mask.png`)).blob());
  const canvas = fromBrightness(bitmap);
  bitmap.close();
  if (begin.get() === wanted) setMask(canvas);
}

export const setMask = (canvas: HTMLCanvasElement | null): void => mask.set(canvas && { canvas, overlay: canvas.toDataURL() });

// What of these a job takes: ids into its fields, the rest as files beside it.
export async function addBegin(job: NewJob, draft: Draft): Promise<Files> {
  const from = begin.get();
  const files: Files = {};
  if (!from) return files;
  job.strength = draft.strength;
  if (from.source instanceof Blob) files.init_image = from.source;
  else job.init_image = from.source;
  const painted = mask.get();
  if (painted) files.mask = await pngOf(blackAndWhite(painted.canvas));
  return files;
}

// A picture that begins from another has no first steps at half size.
export const askedFor = (draft: Draft): Draft => (begin.get() ? { ...draft, progressive: "" } : draft);

export function beginProblems(draft: Draft, info: Info): Problems {
  const from = begin.get();
  if (!from) return {};
  if (!modelOf(draft, info)?.init_image) return { init_image: "This model begins from no picture. Remove it, or choose another model." };
  if (from.source instanceof Blob && from.source.size > info.limits.upload_bytes) {
    return { init_image: `The picture has ${bytes(from.source.size)}; this server takes at most ${bytes(info.limits.upload_bytes)}.` };
  }
  return {};
}
