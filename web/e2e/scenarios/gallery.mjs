import assert from "node:assert/strict";
import { drawOne, open, seen } from "../steps.mjs";

export const gallery = {
  compare: {
    async act({ page, url }) {
      await open(page, url);
      const first = await drawOne(page, "a red apple on a sky blue background");
      const second = await drawOne(page, "a blue fish on cream");
      for (const id of [first, second]) {
        const card = page.locator(`.recent .print:has(a[href*="/${id}/"])`);
        await card.hover();
        await card.locator(".pick").click();
      }
      await page.click('.tray button:has-text("Compare")');
      for (const side of ["left", "right"]) await seen(page.locator(`.compare-${side}`));
      const clip = () => page.locator(".compare-right").evaluate((image) => getComputedStyle(image).clipPath);
      assert.match(await clip(), /50%/);
      const slider = page.locator(".compare-slider");
      await slider.focus();
      for (let i = 0; i < 20; i += 1) await page.keyboard.press("ArrowRight");
      assert.match(await clip(), /60%/);
      const frame = await page.locator(".compare-frame").boundingBox();
      await page.mouse.click(frame.x + frame.width * 0.25, frame.y + frame.height / 2);
      assert.match(await clip(), /2[3-7](\.\d+)?%/);
      await page.locator('.facts-table th:has-text("Prompt")').waitFor();
      await page.keyboard.press("Escape");
      await page.locator(".compare-frame").waitFor({ state: "detached" });
    },
  },

  // The viewer: facts, settings again, download, deletion; the back button closes it.
  viewer: {
    async act({ page, url }) {
      await open(page, url);
      const prompt = "a cat above a guitar in fluent style on mint";
      await page.selectOption("#cache", "share-0.5");
      const id = await drawOne(page, prompt);
      await page.fill("#prompt", "something else");
      await page.selectOption("#cache", "");
      await page.click(`.recent a[href*="/${id}/"]`);
      await seen(page.locator(".viewer .plate img"));
      const facts = await page.locator(".viewer .facts").textContent();
      for (const word of ["Model", "Size", "Seed", "Steps", "Fewer passesshare-0.5"]) assert.ok(facts.includes(word), `no ${word} in ${facts}`);
      const saving = page.waitForEvent("download");
      await page.click('.viewer button:has-text("Download")');
      assert.match((await saving).suggestedFilename(), /^a-cat-above.*\.png$/);
      await page.reload();
      await seen(page.locator(".viewer .plate img"));
      await page.click('.viewer button:has-text("Reuse settings")');
      assert.equal(await page.inputValue("#prompt"), prompt);
      assert.match(await page.inputValue("#seed"), /^\d+$/);
      assert.equal(await page.inputValue("#cache"), "share-0.5");
      await page.locator("#prompt:focus").waitFor();
      await page.goBack();
      await page.click('.viewer button:has-text("Delete")');
      await page.click('.viewer button:has-text("Really delete")');
      await page.locator(".viewer").waitFor({ state: "detached" });
      assert.equal(await page.locator(`a[href*="/${id}/"]`).count(), 0);
      await page.reload();
      await page.locator("#prompt").waitFor();
      assert.equal(await page.locator(`a[href*="/${id}/"]`).count(), 0);
    },
  },

  search: {
    async act({ page, url }) {
      await open(page, url);
      const word = `w${Date.now()}`;
      await drawOne(page, `an owl and a pumpkin on teal ${word}`);
      await drawOne(page, "a sunflower");
      await page.click('a:has-text("Archive")');
      await page.fill("#search", word);
      await page.locator('[role=status]:has-text("1 picture of 1 job")').waitFor();
      await page.selectOption("#filter", "failed");
      await page.locator("text=Nothing fits").waitFor();
    },
  },

  // The history comes page by page (here of one job), newest first, and a reload keeps none of it back.
  paging: {
    async act({ page, url }) {
      await open(page, url);
      const first = await drawOne(page, "a sunflower");
      const second = await drawOne(page, "a rocket on a navy background");
      await page.route(/\/api\/jobs\?.*limit=60/, (route) => route.continue({ url: route.request().url().replace("limit=60", "limit=1") }));
      await page.goto("about:blank");
      await open(page, url, "#archive");
      await page.locator(`.print a[href*="/${second}/"]`).waitFor();
      assert.equal(await page.locator(`.print a[href*="/${first}/"]`).count(), 0);
      await page.click('button:has-text("Show older")');
      await seen(page.locator(`.print a[href*="/${first}/"] img`));
      assert.equal(await page.locator(".print").count(), 2);
    },
  },
};
