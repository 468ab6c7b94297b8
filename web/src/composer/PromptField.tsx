import { useEffect, useRef } from "preact/hooks";
import { emptyCaption, parseCaption } from "../captions/caption";
import { draft, edit, info, problems } from "../state/app";
import { modelOf, promptOf } from "../state/draft";
import { useStore } from "../state/store";
import { Problem } from "../ui/Field";
import { Segmented } from "../ui/Segmented";
import { CaptionEditor } from "./CaptionEditor";

// Words that are a caption open as one; a caption becomes the words that it is.
export function switchMode(mode: "plain" | "caption"): void {
  const now = draft.get();
  const known = info.get();
  if (mode === now.mode) return;
  if (mode === "plain") {
    const empty = now.caption.elements.length === 0 && !now.caption.background && now.caption.style === "none";
    edit({ mode, prompt: empty ? now.caption.summary : promptOf(now, known && modelOf(now, known)) });
  } else {
    edit({ mode, caption: parseCaption(now.prompt) ?? (now.prompt.trim() ? { ...emptyCaption(), summary: now.prompt.trim() } : now.caption) });
  }
}

export function PromptField() {
  const mode = useStore(draft, (d) => d.mode);
  return (
    <section class="prompt" aria-label="Prompt">
      <Segmented
        legend="How to describe the picture"
        name="mode"
        value={mode}
        choices={[
          { value: "plain", label: "Words" },
          { value: "caption", label: "Layout", hint: "A caption with places for words and objects" },
        ]}
        onChange={switchMode}
      />
      {mode === "plain" ? <PlainPrompt /> : <CaptionEditor />}
    </section>
  );
}

function PlainPrompt() {
  const prompt = useStore(draft, (d) => d.prompt);
  const problem = useStore(problems, (p) => p.prompt);
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    const element = area.current; // browsers without field-sizing
    if (!element || CSS.supports("field-sizing", "content")) return;
    element.rows = Math.min(14, Math.max(4, prompt.split("\n").length + Math.floor(prompt.length / 42)));
  }, [prompt]);
  return (
    <div class="field">
      <label class="unseen" for="prompt">
        Prompt
      </label>
      <textarea
        ref={area}
        id="prompt"
        class="input area prompt-area"
        rows={4}
        spellcheck
        placeholder="Describe what you want to see…"
        value={prompt}
        aria-invalid={problem ? true : undefined}
        aria-describedby={problem ? "prompt-problem" : undefined}
        onInput={(event) => edit({ prompt: event.currentTarget.value })}
      />
      <Problem id="prompt-problem" text={problem} />
    </div>
  );
}
