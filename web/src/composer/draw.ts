import type { Job } from "../api/types";
import { generate, reuse } from "../state/app";
import { go } from "../state/route";

// Sends the draft; on a phone, where the stage is below the composer, goes there.
export async function draw(): Promise<void> {
  if ((await generate()) && matchMedia("(max-width: 719px)").matches) {
    requestAnimationFrame(() => document.querySelector(".stage")?.scrollIntoView({ behavior: "smooth", block: "start" }));
  }
}

// Puts a job's settings into the composer and goes there; `seed`: of one of its pictures.
export function reuseSettings(job: Job, seed: number | null): void {
  reuse(job, seed);
  go("studio");
  setTimeout(() => (document.getElementById("prompt") ?? document.getElementById("summary"))?.focus(), 60); // after a dialog gave the focus back
}
