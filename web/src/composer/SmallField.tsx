import type { Model } from "../api/types";
import { begin } from "../begin/begin";
import { draft, edit, problems } from "../state/app";
import { progressiveOf } from "../state/draft";
import { useStore } from "../state/store";
import { Problem } from "../ui/Field";

const kShares = [0.25, 0.4, 0.6];
const wordsOf = (value: string): string => (Number(value) < 1 ? `First ${Math.round(100 * Number(value))} % of the steps` : `First ${value} steps`);

// How many of the first steps run at half the width and height.
export function SmallField({ model }: { model: Model }) {
  const from = useStore(begin, (b) => b !== null);
  const chosen = useStore(draft, (d) => progressiveOf(d, model));
  const problem = useStore(problems, (p) => p.progressive);
  const value = from ? "" : chosen;
  if (!model.progressive) return null;
  const choices = [...new Set([...kShares.map(String), value])].filter(Boolean);
  return (
    <div class="field">
      <label class="label" for="progressive">
        Begin small
      </label>
      <select
        id="progressive"
        class="input select"
        value={value}
        disabled={from}
        aria-invalid={problem ? true : undefined}
        aria-describedby={problem ? "progressive-problem" : "progressive-hint"}
        onChange={(event) => edit({ progressive: event.currentTarget.value })}
      >
        <option value="">Off, all steps at full size</option>
        {choices.map((choice) => (
          <option key={choice} value={choice}>
            {wordsOf(choice)}
          </option>
        ))}
      </select>
      <p class="hint" id="progressive-hint">
        {from ? "Not where a picture begins from another." : "Quicker: those steps run at half the width and height."}
      </p>
      <Problem id="progressive-problem" text={problem} />
    </div>
  );
}
