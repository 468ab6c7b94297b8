import assert from "node:assert/strict";
import { open } from "../steps.mjs";

const captionOf = async (page) => JSON.parse(await page.locator(".json").textContent());

export const layout = {
  // A box drawn and pulled by the pointer, another placed by keys alone; the caption says so.
  layout: {
    async act({ page, url }) {
      await open(page, url);
      await page.click('label:has-text("Layout")');
      await page.fill("#summary", 'A red apple above "CAT"');
      await page.click("summary");
      await page.click('label[title*="was trained so"]');
      const area = page.locator(".layout-area");
      await area.scrollIntoViewIfNeeded();
      const frame = await area.boundingBox();
      const at = (x, y) => [frame.x + frame.width * x, frame.y + frame.height * y];
      await page.mouse.move(...at(0.2, 0.7));
      await page.mouse.down();
      await page.mouse.move(...at(0.5, 0.8), { steps: 3 });
      await page.mouse.move(...at(0.8, 0.9), { steps: 3 });
      await page.mouse.up();
      await page.fill("#element-text", "CAT");
      await page.fill("#element-desc", "red serif letters");
      const near = (box, want) => box.forEach((value, i) => assert.ok(Math.abs(value - want[i]) <= 12, `${box} is not ${want}`));
      near((await captionOf(page)).compositional_deconstruction.elements[0].bbox, [700, 200, 900, 800]);

      await area.scrollIntoViewIfNeeded();
      const again = await area.boundingBox();
      await page.mouse.move(again.x + again.width * 0.8, again.y + again.height * 0.9);
      await page.mouse.down();
      await page.mouse.move(again.x + again.width * 0.7, again.y + again.height * 0.95, { steps: 4 });
      await page.mouse.up();
      near((await captionOf(page)).compositional_deconstruction.elements[0].bbox, [700, 200, 950, 700]);

      await page.click('label:has-text("Object")');
      await page.click('button:has-text("Add object")');
      await page.fill("#element-desc", "a red apple");
      await page.locator(".box.obj").focus();
      const before = (await captionOf(page)).compositional_deconstruction.elements[1].bbox;
      await page.keyboard.press("ArrowRight");
      await page.keyboard.press("Shift+ArrowDown");
      await page.keyboard.press("Control+ArrowLeft");
      const after = (await captionOf(page)).compositional_deconstruction.elements[1].bbox;
      assert.deepEqual(after, [before[0], before[1] + 19, before[2] + 20, before[3] + 19]);

      const sent = page.waitForRequest((request) => request.url().endsWith("/api/jobs") && request.method() === "POST");
      await page.keyboard.press("Control+Enter");
      const caption = JSON.parse(JSON.parse((await sent).postData()).prompt);
      assert.equal(caption.high_level_description, 'A red apple above "CAT"');
      assert.deepEqual(caption.compositional_deconstruction.elements.map((e) => e.type), ["text", "obj"]);

      await page.reload();
      await page.locator(".box").nth(1).waitFor();
      await page.locator(".box.text").focus();
      await page.keyboard.press("Delete");
      assert.equal(await page.locator(".box").count(), 1);
    },
  },

  // A half-made caption is not sent; words say what is missing, and the field has the focus.
  unfinished: {
    async act({ page, url }) {
      await open(page, url);
      await page.click(".press");
      await page.locator("#prompt-problem").waitFor();
      assert.equal(await page.evaluate(() => document.activeElement?.id), "prompt");
      await page.fill("#prompt", "a fox");
      await page.locator("#prompt-problem").waitFor({ state: "detached" });
      await page.fill("#width", "250");
      await page.click(".press");
      assert.match(await page.locator("#size-problem").textContent(), /multiple of/);
      assert.equal(await page.evaluate(() => document.activeElement?.id), "width");
      await page.click('.shape[title="wide landscape"]');
      await page.locator("#size-problem").waitFor({ state: "detached" });
    },
  },
};
