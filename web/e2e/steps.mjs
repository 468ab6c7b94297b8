// What several scenarios do.
import assert from "node:assert/strict";

export async function open(page, url, fragment = "") {
  await page.goto(url + fragment);
  await page.waitForFunction(() => document.querySelector("#width") !== null || location.hash.startsWith("#archive"));
}

// Sends a prompt and waits for its picture on the stage; resolves to the job's id.
export async function drawOne(page, prompt) {
  await page.fill("#prompt", prompt);
  const answer = page.waitForResponse((response) => response.url().endsWith("/api/jobs") && response.request().method() === "POST");
  await page.click(".press");
  const job = await (await answer).json();
  await page.locator(`.stage a[href$="/picture/${job.id}/0"] img`).waitFor();
  return job.id;
}

export async function seen(locator) {
  await locator.waitFor();
  const width = await locator.evaluate((image) => image.decode().then(() => image.naturalWidth));
  assert.ok(width > 0, "the picture has no pixels");
}

export const number = (locator, attribute) => locator.getAttribute(attribute).then(Number);
