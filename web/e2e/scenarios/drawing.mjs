import assert from "node:assert/strict";
import { number, open, seen } from "../steps.mjs";

export const drawing = {
  // A prompt, its progress, its picture; all of it still there after a reload.
  draw: {
    async act({ page, url }) {
      await open(page, url);
      const prompt = `a fox in noto style ${Date.now() % 100000}`;
      await page.fill("#prompt", prompt);
      await page.click(".press");
      const bar = page.locator(".stage [role=progressbar]");
      await bar.waitFor();
      const values = [];
      while (await bar.isVisible()) {
        values.push(await number(bar, "aria-valuenow").catch(() => null));
        await page.waitForTimeout(100);
      }
      const known = values.filter((v) => v !== null);
      assert.ok(known.some((v) => v > 0 && v < 100), `no progress was seen: ${known}`);
      assert.deepEqual(known, [...known].sort((a, b) => a - b), "progress went back");
      await seen(page.locator(`.stage img[alt*="${prompt}"]`));
      assert.match(await page.locator(".unseen[role=status]").first().textContent(), /Finished/);

      await page.reload();
      await seen(page.locator(`.recent img[alt*="${prompt}"]`).first());
      await seen(page.locator(`.stage img[alt*="${prompt}"]`));
      assert.equal(await page.inputValue("#prompt"), prompt);
    },
  },

  previews: {
    async act({ page, url }) {
      await open(page, url);
      await page.fill("#prompt", "a rocket on a navy background");
      await page.click(".press");
      await page.locator(".stage img.preview").waitFor();
      await seen(page.locator('.stage a img[alt*="a rocket on a navy"]'));
    },
  },

  // One runs, one waits: the waiting one is cancelled in the queue, the running one on the stage.
  cancel: {
    async act({ page, url }) {
      await open(page, url);
      await page.selectOption("#schedule", "steps");
      await page.fill("#steps", "150");
      await page.fill("#prompt", "a sunflower that takes long");
      await page.click(".press");
      await page.locator(".stage [role=progressbar]").waitFor();
      await page.fill("#prompt", "an owl that waits");
      await page.click(".press");
      await page.locator(".queue-item").waitFor();
      await page.click('.queue-item button[aria-label^="Cancel"]');
      await page.locator(".queue-item").waitFor({ state: "detached" });
      const cancel = page.locator('.stage button:has-text("Cancel")');
      if (await cancel.isVisible()) await cancel.click();
      await page.locator(".stage [role=progressbar]").waitFor({ state: "detached" });
      await page.goto(`${url}#archive`);
      await page.click('label[title="Jobs"]');
      for (const words of ["takes long", "that waits"]) {
        await page.locator(`.job[data-status=cancelled]:has-text("${words}")`).first().waitFor();
      }
    },
  },

  count: {
    async act({ page, url }) {
      await open(page, url);
      await page.fill("#count", "2");
      await page.fill("#prompt", "a purple elephant against a yellow background");
      await page.click(".press");
      await page.locator(".strip-item").nth(1).waitFor();
      await page.locator(".stage [role=progressbar]").waitFor({ state: "detached" });
      await page.locator(".strip-item").nth(1).click();
      await page.locator('.stage figcaption:has-text("2/2")').waitFor();
    },
  },
};

