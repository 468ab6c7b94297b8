import { describe, expect, it } from "vitest";
import { kShapes, shapeOf, sizeOf, sizeProblem } from "../src/sizes/sizes";

describe("sizes", () => {
  it.each([16, 32, 64])("are multiples of %i in every shape, of about as many pixels", (multiple) => {
    for (const shape of kShapes) {
      const size = sizeOf(shape.ratio, 1024 * 1024, multiple);
      expect(size.width % multiple).toBe(0);
      expect(size.height % multiple).toBe(0);
      // A side is off by half a multiple at most, the width by that of the height times the ratio more.
      expect(Math.abs((size.width * size.height) / 1024 ** 2 - 1)).toBeLessThan((2 * multiple) / Math.min(size.width, size.height));
      expect(shapeOf(size, multiple)?.name).toBe(shape.name);
    }
  });
  it("stay below the server's limit", () => {
    const size = sizeOf(16 / 9, 2048 * 2048, 16, 1024 * 1024);
    expect(size.width * size.height).toBeLessThanOrEqual(1024 * 1024);
  });
  it("of 256 x 256 in shapes are those of the bundled model's grid", () => {
    expect(sizeOf(3 / 2, 256 * 256, 16)).toEqual({ width: 320, height: 208 });
    expect(sizeOf(1, 256 * 256, 16)).toEqual({ width: 256, height: 256 });
  });
  it("know no shape for odd ones", () => expect(shapeOf({ width: 1024, height: 64 }, 16)).toBeNull());
  it("that a model does not draw are refused with what it would", () => {
    expect(sizeProblem({ width: 250, height: 256 }, 16, 1e6)).toBe("Width must be a multiple of 16: 240 or 256 instead of 250.");
    expect(sizeProblem({ width: 256, height: 7 }, 16, 1e6)).toBe("Height must be a multiple of 16: 16 instead of 7.");
    expect(sizeProblem({ width: 256, height: Number.NaN }, 16, 1e6)).toMatch(/whole number/);
    expect(sizeProblem({ width: 2048, height: 1024 }, 16, 1024 * 1024)).toMatch(/at most 1024 × 1024/);
    expect(sizeProblem({ width: 1024, height: 1024 }, 16, 1024 * 1024)).toBeNull();
  });
});
