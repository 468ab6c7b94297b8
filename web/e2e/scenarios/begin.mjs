// Pictures that begin from others: chosen, masked, drawn, reused.
import assert from "node:assert/strict";
import { drawOne, open, seen } from "../steps.mjs";
import { encode } from "../../mock/png.mjs";

const grey = (width, height) => ({ name: "grey.png", mimeType: "image/png", buffer: encode({ width, height, data: Buffer.alloc(width * height * 3, 120) }) });

export async function choose(page, width = 300, height = 200) {
  await page.locator(".begin input[type=file]").setInputFiles(grey(width, height));
  await seen(page.locator(".begin-plate img").first());
}

async function post(page) {
  const answer = page.waitForResponse((response) => response.url().endsWith("/api/jobs") && response.request().method() === "POST");
  await page.click(".press");
  return (await answer).json();
}

// The real server has models that begin from none: what it refuses is said.
const able = (page) => page.evaluate(async () => (await (await fetch("/api/info")).json()).models[0].init_image);

export const begin = {
  begin_from: {
    async act({ page, url }) {
      await open(page, url);
      if (!(await able(page))) return;
      await choose(page);
      assert.ok(Number(await page.inputValue("#width")) > Number(await page.inputValue("#height")), "it took the picture's shape");
      await page.locator("#strength").fill("0.4");
      await page.fill("#prompt", "a fox in fog");
      const job = await post(page);
      assert.equal(job.request.strength, 0.4);
      assert.match(job.request.init_image.id, /^[0-9a-f]{64}$/);
      assert.equal(job.request.mask, null);
      await page.locator(`.stage a[href$="/picture/${job.id}/0"]`).click();
      await seen(page.locator(".began img"));
      assert.match(await page.locator(".facts").textContent(), /a picture, strength 0.4/);
      await page.click('.viewer-actions button:has-text("Reuse")');
      await seen(page.locator(".begin-plate img").first());
      assert.equal(await page.inputValue("#strength"), "0.4");
      await page.locator(".stage [role=progressbar]").waitFor({ state: "detached" });
      const again = await post(page);
      assert.ok(again.request.init_image, "the kept picture was named");
      await page.click('.begin button:has-text("Remove")');
      await page.locator(".begin-drop").waitFor();
    },
  },

  mask: {
    async act({ page, url }) {
      await open(page, url);
      if (!(await able(page))) return;
      await choose(page, 256, 256);
      await page.click('button:has-text("Paint a mask")');
      const canvas = page.locator(".mask-canvas");
      const share = async () => Number(/(\d+) %/.exec(await canvas.getAttribute("aria-label"))[1]);
      const box = await canvas.boundingBox();
      await page.mouse.move(box.x + 0.3 * box.width, box.y + 0.5 * box.height);
      await page.mouse.down();
      await page.mouse.move(box.x + 0.7 * box.width, box.y + 0.5 * box.height, { steps: 5 });
      await page.mouse.up();
      const drawn = await share();
      assert.ok(drawn > 2 && drawn < 20, `a stroke covers ${drawn} %`);
      // Keys alone do the same.
      await canvas.focus();
      for (const key of ["ArrowUp", "ArrowUp", "ArrowUp", "]", "]", " "]) await page.keyboard.press(key);
      assert.ok((await share()) > drawn, "Space painted");
      await page.click('button:has-text("Invert")');
      assert.ok((await share()) > 75, "it was inverted");
      await page.click('.mask-dialog button:has-text("Clear")');
      assert.equal(await share(), 0);
      await canvas.focus();
      await page.keyboard.press(" ");
      await page.click('.mask-dialog button:has-text("Use it")');
      await page.locator(".begin-mask").waitFor();
      await page.fill("#prompt", "a moon");
      const job = await post(page);
      assert.match(job.request.mask.id, /^[0-9a-f]{64}$/);
      await page.locator(`.stage a[href$="/picture/${job.id}/0"]`).click();
      assert.equal(await page.locator(".began img").count(), 2);
    },
  },

  begin_from_gallery: {
    async act({ page, url }) {
      await open(page, url);
      if (!(await able(page))) return;
      await drawOne(page, "an owl to begin from");
      await page.locator(".recent .print a").first().click();
      await page.click('.viewer-actions button:has-text("Begin from this")');
      await seen(page.locator(".begin-plate img").first());
    },
  },

  // Another model takes none: the page says so before the server does.
  begin_unable: {
    async act({ page, url, mock }) {
      if (!mock) return;
      await open(page, url);
      await choose(page);
      await page.selectOption("#model", { index: 1 });
      await page.fill("#prompt", "a fox");
      await page.click(".press");
      assert.match(await page.locator("#begin-problem").textContent(), /begins from no picture/);
      await page.click('.begin button:has-text("Remove")');
      assert.match(await page.locator(".begin .hint").textContent(), /begins from no picture/);
    },
  },

  pasted: {
    async act({ page, url }) {
      await open(page, url);
      if (!(await able(page))) return;
      await page.evaluate(async (bytes) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "a.png", { type: "image/png" }));
        document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
      }, [...grey(64, 64).buffer]);
      await seen(page.locator(".begin-plate img").first());
    },
  },

  unknown_words: {
    async act({ page, url, mock }) {
      if (!mock) return;
      await open(page, url);
      await drawOne(page, "a zyxomma");
      assert.match(await page.locator(".stage .warning").textContent(), /never trained on "zyxomma"/);
    },
  },
};
