import { useStore } from "../state/store";
import { Dialog } from "../ui/Dialog";
import { helpOpen, kKeys, letters } from "./keys";

export function Help() {
  const open = useStore(helpOpen, (h) => h);
  const on = useStore(letters, (l) => l);
  if (!open) return null;
  return (
    <Dialog label="Keys" class="small-dialog" onClose={() => helpOpen.set(false)}>
      <h2 class="heading">Keys</h2>
      <dl class="keys">
        {kKeys.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label class="tick">
        <input type="checkbox" checked={on} onChange={(event) => letters.set(event.currentTarget.checked)} />
        <span>Keys of a single letter</span>
      </label>
      <p class="hint">Layout: Tab goes from box to box; arrows move it, with Shift they resize it, with Ctrl finely.</p>
      <p class="hint">
        <a href="./licences.txt">Licences</a> of what is in this page.
      </p>
    </Dialog>
  );
}
