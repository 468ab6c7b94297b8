import type { Mask, Model } from "../api/types";
import { draft, edit } from "../state/app";
import { cacheOf, masksOf, stepsOf } from "../state/draft";
import { useStore } from "../state/store";

const percent = (share: number): string => `${Math.round(100 * share)} %`;
const textOf = (mask: Mask): string => `${percent(mask.share)} of the passes, ${mask.name}`;

// How much of the work between two steps is done: where the model brings masks, or a share was reused.
export function PassesField({ model }: { model: Model }) {
  const value = useStore(draft, (d) => cacheOf(d, model));
  const masks = masksOf(model, useStore(draft, (d) => stepsOf(d, model)));
  const share = value !== "" && !masks.some((mask) => mask.name === value);
  if (model.masks.length === 0 && !share) return null;
  const none = masks.length === 0 && !share;
  const known = [...new Set(model.masks.map((mask) => mask.steps))].join(", ");
  return (
    <div class="field">
      <label class="label" for="cache">
        Fewer passes
      </label>
      <select id="cache" class="input select" value={value} disabled={none} aria-describedby="cache-hint" onChange={(event) => edit({ cache: event.currentTarget.value })}>
        <option value="">Off, all are computed</option>
        {masks.map((mask) => (
          <option key={mask.name} value={mask.name}>
            {textOf(mask)}
          </option>
        ))}
        {share && <option value={value}>{percent(Number(value))} of the passes</option>}
      </select>
      <p class="hint" id="cache-hint">
        {none ? `This model has them for ${known} steps.` : value ? "Quicker; small things may look different." : "Quicker pictures from fewer runs of the model."}
      </p>
    </div>
  );
}
