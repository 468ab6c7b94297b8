import { useEffect, useRef, useState } from "preact/hooks";
import { draft, edit, info, link, problems, sending } from "../state/app";
import { emptyDraft, modelOf } from "../state/draft";
import { useStore } from "../state/store";
import { plural } from "../format/format";
import { NumberField, TextField } from "../ui/Field";
import { draw } from "./draw";
import { LoraField } from "./LoraField";
import { BeginField, takeDropped } from "../begin/BeginField";
import { PromptField } from "./PromptField";
import { Schedule } from "./Schedule";
import { SeedField, SeedNumber } from "./SeedField";
import { SizeField } from "./SizeField";

export function Composer() {
  const known = useStore(info, (i) => i);
  const name = useStore(draft, (d) => d.model);
  const count = useStore(draft, (d) => d.count);
  const negative = useStore(draft, (d) => d.negative);
  const wrong = useStore(problems, (p) => p);
  const busy = useStore(sending, (s) => s);
  const live = useStore(link, (l) => l === "live");
  const form = useRef<HTMLFormElement>(null);
  const model = known && modelOf({ ...emptyDraft(), model: name }, known);
  const message = Object.values(wrong)[0];
  const [over, setOver] = useState(false); // a picture is held over the form

  // The first field at fault gets the focus.
  useEffect(() => {
    if (message) form.current?.querySelector<HTMLElement>("[aria-invalid=true]")?.focus();
  }, [message]);

  // A picture that is pasted, wherever the focus is.
  useEffect(() => {
    const paste = (event: ClipboardEvent) => {
      if (takeDropped(event.clipboardData, known, model)) event.preventDefault();
    };
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  }, [known, model]);

  return (
    <form
      ref={form}
      class={`composer ${over ? "is-over" : ""}`}
      onDragOver={(event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={(event) => !form.current?.contains(event.relatedTarget as Node | null) && setOver(false)}
      onDrop={(event) => {
        setOver(false);
        if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
        takeDropped(event.dataTransfer, known, model);
      }}
      aria-label="What to draw"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void draw();
      }}
    >
      <div class="composer-fields">
        <PromptField />
        {model?.negative_prompt && <TextField id="negative" label="What not to show" rows={2} value={negative} placeholder="e.g. blur, frames" problem={wrong.negative} onChange={(text) => edit({ negative: text })} />}
        {known && model && (
          <>
            <BeginField info={known} model={model} />
            <SizeField info={known} model={model} />
            <Schedule info={known} model={model} />
            <div class="pair">
              <SeedField />
              <NumberField id="count" label="Pictures" value={count} min={1} max={known.limits.count} stepper problem={wrong.count} onChange={(n) => edit({ count: n ?? 0 })} />
            </div>
            <SeedNumber />
            <LoraField info={known} />
          </>
        )}
      </div>
      <div class="composer-foot">
        <button type="submit" class="press" disabled={!known || busy}>
          <span>{busy ? "Sending…" : `Draw ${count > 1 ? plural(count, "picture") : "it"}`}</span>
          <kbd aria-hidden="true">Ctrl ↵</kbd>
        </button>
        {!live && !known && <p class="hint">Waiting for the server…</p>}
      </div>
    </form>
  );
}
