import assert from "node:assert/strict";
import { open, seen } from "../steps.mjs";

export const faults = {
  // The stream breaks twice; the page says so, keeps the prompt, and finds back by itself.
  reconnect: {
    mayLog: true,
    async act({ page, url }) {
      let broken = 2;
      await page.route("**/api/events", (route) => (broken-- > 0 ? route.abort() : route.continue()));
      await page.goto(url);
      await page.locator("text=The server does not answer").first().waitFor();
      await page.fill("#prompt", "kept");
      await page.locator(".link p").waitFor({ state: "detached" });
      await page.locator("#width").waitFor();
      assert.equal(await page.inputValue("#prompt"), "kept");
    },
  },

  // A server with a token: asked for once, sent ever after, with pictures too.
  token: {
    mayLog: true,
    async act({ page, url }) {
      const sent = [];
      await page.route(/\/(api|metrics)/, async (route) => {
        const header = route.request().headers().authorization;
        sent.push([new URL(route.request().url()).pathname, header]);
        if (header === "Bearer open sesame") return route.continue();
        return route.fulfill({ status: 401, headers: { "WWW-Authenticate": "Bearer" }, json: { error: { code: "unauthorized", message: "This server asks for a token." } } });
      });
      await page.goto(url);
      await page.fill("#token", "wrong");
      await page.keyboard.press("Enter");
      await page.locator("text=was not accepted").waitFor();
      await page.fill("#token", "open sesame");
      await page.keyboard.press("Enter");
      await page.locator("#width").waitFor();
      await page.reload();
      await page.locator("#width").waitFor();
      const picture = page.locator(".print img").first();
      if (await picture.isVisible().catch(() => false)) {
        await seen(picture);
        assert.match(await picture.getAttribute("src"), /^blob:/);
        assert.ok(sent.some(([path, header]) => path.includes("/pictures/") && header === "Bearer open sesame"));
      }
    },
  },

  // A full queue, in words and with the time.
  full: {
    mayLog: true,
    async act({ page, url }) {
      await page.route("**/api/jobs", (route) =>
        route.request().method() === "POST" ? route.fulfill({ status: 429, headers: { "Retry-After": "40" }, json: { error: { code: "resource_exhausted", message: "1000 jobs wait already." } } }) : route.continue());
      await open(page, url);
      await page.fill("#prompt", "a fox");
      await page.click(".press");
      await page.locator("text=1000 jobs wait already. Try again in 40 seconds.").waitFor();
      assert.equal(await page.inputValue("#prompt"), "a fox");
    },
  },
};
