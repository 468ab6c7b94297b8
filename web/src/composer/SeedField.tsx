import { draft, edit, problems } from "../state/app";
import { useStore } from "../state/store";
import { NumberField } from "../ui/Field";
import { Icon } from "../ui/Icon";
import { Segmented } from "../ui/Segmented";

export function SeedField() {
  const fixed = useStore(draft, (d) => d.seedFixed);
  return (
    <div class="field">
      <span class="label">Seed</span>
      <Segmented
        legend="Seed"
        name="seed-mode"
        class="wide"
        value={fixed ? "fixed" : "random"}
        choices={[{ value: "random", label: "Random" }, { value: "fixed", label: "Fixed" }]}
        onChange={(value) => edit({ seedFixed: value === "fixed" })}
      />
    </div>
  );
}

export function SeedNumber() {
  const fixed = useStore(draft, (d) => d.seedFixed);
  const seed = useStore(draft, (d) => d.seed);
  const problem = useStore(problems, (p) => p.seed);
  const roll = () => edit({ seed: crypto.getRandomValues(new Uint32Array(1))[0] ?? 0 });
  if (!fixed) return null;
  return (
    <div class="seed-row">
      <NumberField id="seed" label="Seed’s number" value={seed} min={0} max={Number.MAX_SAFE_INTEGER} problem={problem} onChange={(n) => edit({ seed: n ?? 0 })} />
      <button type="button" class="tool" aria-label="Another seed" title="Another seed" onClick={roll}>
        <Icon name="dice" />
      </button>
    </div>
  );
}
