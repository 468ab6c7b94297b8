// The official client draws, edits, streams, lists models, and understands errors.
//   node draw.mjs http://127.0.0.1:7860 [TOKEN]
import assert from "node:assert/strict";
import OpenAI from "openai";

const [address, token = "none"] = process.argv.slice(2);
const client = new OpenAI({ baseURL: new URL("/v1", address).href, apiKey: token, maxRetries: 0 });
const few = { size: "128x128", steps: 4, seed: 7 };
const bytes = (image) => Buffer.from(image.b64_json, "base64");
const isPng = (data) => data.subarray(1, 4).toString() === "PNG";

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.equal(models[0], "mini");
assert.equal((await client.models.retrieve("mini")).object, "model");
console.log("ok: models");

const drawn = await client.images.generate({ model: "mini", prompt: "an owl on a teal background", n: 2, ...few });
assert.equal(drawn.data.length, 2);
assert.ok(drawn.data.every((image) => isPng(bytes(image))));
assert.equal(drawn.size, "128x128");
const again = await client.images.generate({ model: "gpt-image-1", prompt: "an owl on a teal background", ...few });
assert.equal(again.data[0].b64_json, drawn.data[0].b64_json, "one seed, one picture");
console.log("ok: pictures");

const jpeg = await client.images.generate({ prompt: "an owl", output_format: "jpeg", output_compression: 80, ...few });
assert.equal(bytes(jpeg.data[0]).readUInt16BE(0), 0xffd8);
const webp = await client.images.generate({ prompt: "an owl", output_format: "webp", ...few });
assert.equal(bytes(webp.data[0]).subarray(8, 12).toString(), "WEBP");
console.log("ok: formats");

const named = await client.images.generate({ prompt: "an owl", response_format: "url", ...few });
const fetched = Buffer.from(await (await fetch(named.data[0].url)).arrayBuffer());
assert.ok(isPng(fetched));
console.log("ok: address");

const stream = await client.images.generate({ prompt: "an owl", stream: true, partial_images: 2, ...few });
const events = [];
for await (const event of stream) events.push(event);
const last = events.at(-1);
assert.equal(last.type, "image_generation.completed");
assert.ok(isPng(bytes(last)));
assert.equal(typeof last.usage.total_tokens, "number");
for (const [index, event] of events.slice(0, -1).entries()) {
  assert.equal(event.type, "image_generation.partial_image");
  assert.equal(event.partial_image_index, index);
  assert.ok(isPng(bytes(event)));
}
assert.ok(events.length <= 3);
console.log(`ok: stream, ${events.length - 1} partial pictures`);

// Where the model's files have no encoder, the field at fault is the picture's.
const image = await OpenAI.toFile(bytes(drawn.data[0]), "owl.png", { type: "image/png" });
const edit = { prompt: "an owl at night", image, strength: 0.5, ...few };
const edited = await client.images.edit(edit).catch((error) => error);
if (edited instanceof OpenAI.APIError) {
  assert.equal(edited.param, "image");
} else {
  assert.ok(isPng(bytes(edited.data[0])));
  const kinds = [];
  for await (const event of await client.images.edit({ ...edit, stream: true })) kinds.push(event.type);
  assert.equal(kinds.at(-1), "image_edit.completed");
}
await assert.rejects(client.images.edit({ ...edit, image: [image, image] }), (error) => error instanceof OpenAI.BadRequestError && error.param === "image");
console.log(`ok: edits${edited instanceof OpenAI.APIError ? " are refused, there is no encoder" : ""}`);

await assert.rejects(client.images.generate({ prompt: "an owl", preset: "x", steps: 3 }), (error) => error instanceof OpenAI.BadRequestError && error.param === "preset");
await assert.rejects(client.images.generate({ model: "nothing", prompt: "an owl" }), (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
console.log("ok: errors");
