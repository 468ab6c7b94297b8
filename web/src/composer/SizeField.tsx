import type { JSX } from "preact";
import type { Info, Model } from "../api/types";
import { kShapes, shapeOf, sizeOf } from "../sizes/sizes";
import { draft, edit, problems } from "../state/app";
import { useStore } from "../state/store";
import { NumberField, Problem } from "../ui/Field";
import { Icon } from "../ui/Icon";

export function SizeField({ info, model }: { info: Info; model: Model }) {
  const width = useStore(draft, (d) => d.width) ?? model.default_width;
  const height = useStore(draft, (d) => d.height) ?? model.default_height;
  const problem = useStore(problems, (p) => p.size);
  const multiple = model.multiple_of;
  const shape = Number.isFinite(width / height) ? shapeOf({ width, height }, multiple) : null;
  const most = Math.floor(info.limits.pixels / multiple);
  const wide = problem && !problem.startsWith("Height") ? "size-problem" : undefined;
  const high = problem && !problem.startsWith("Width") ? "size-problem" : undefined;
  return (
    <div class="field">
      <fieldset class="shapes">
        <legend class="label">Shape</legend>
        <div class="shapes-row">
          {kShapes.map((choice) => (
            <label key={choice.name} class="shape" title={choice.words}>
              <input
                type="radio"
                name="shape"
                checked={shape?.name === choice.name}
                onChange={() => edit(sizeOf(choice.ratio, model.default_width * model.default_height, multiple, info.limits.pixels))}
              />
              <span class="shape-face">
                <span class="shape-plate" style={{ "--ratio": choice.ratio } as JSX.CSSProperties} />
                <span>{choice.name}</span>
                <span class="unseen">, {choice.words}</span>
              </span>
            </label>
          ))}
        </div>
      </fieldset>
      <div class="size-row">
        <NumberField id="width" label="Width" value={width} min={multiple} max={most} step={multiple} problemAt={wide} onChange={(value) => edit({ width: value ?? 0, height })} />
        <button type="button" class="tool" aria-label="Swap width and height" onClick={() => edit({ width: height, height: width })}>
          <Icon name="swap" />
        </button>
        <NumberField id="height" label="Height" value={height} min={multiple} max={most} step={multiple} problemAt={high} onChange={(value) => edit({ width, height: value ?? 0 })} />
      </div>
      <Problem id="size-problem" text={problem} />
    </div>
  );
}
