import { draft, edit, problems } from "../state/app";
import { useStore } from "../state/store";
import { NumberField } from "../ui/Field";
import { Icon } from "../ui/Icon";
import { Segmented } from "../ui/Segmented";

export function SeedField() {
  const fixed = useStore(draft, (d) => d.seedFixed);
  const seed = useStore(draft, (d) => d.seed);
  const problem = useStore(problems, (p) => p.seed);
  const roll = () => edit({ seedFixed: true, seed: crypto.getRandomValues(new Uint32Array(1))[0] ?? 0 });
  return (
    <div class="field">
      <span class="label">Seed</span>
      <div class="seed-row">
        <Segmented
          legend="Seed"
          name="seed-mode"
          value={fixed ? "fixed" : "random"}
          choices={[{ value: "random", label: "Random" }, { value: "fixed", label: "Fixed" }]}
          onChange={(value) => edit({ seedFixed: value === "fixed" })}
        />
        {fixed && (
          <>
            <NumberField id="seed" label={<span class="unseen">Seed’s number</span>} value={seed} min={0} max={Number.MAX_SAFE_INTEGER} problem={problem} onChange={(n) => edit({ seed: n ?? 0 })} />
            <button type="button" class="tool" aria-label="Another seed" onClick={roll}>
              <Icon name="dice" />
            </button>
          </>
        )}
      </div>
    </div>
  );
}
