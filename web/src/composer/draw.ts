import { generate } from "../state/app";

// Sends the draft; on a phone, where the stage is below the composer, goes there.
export async function draw(): Promise<void> {
  if ((await generate()) && matchMedia("(max-width: 719px)").matches) {
    requestAnimationFrame(() => document.querySelector(".stage")?.scrollIntoView({ behavior: "smooth", block: "start" }));
  }
}
