import { dismiss, notices, spoken } from "../state/app";
import { useStore } from "../state/store";
import { Icon } from "./Icon";

// What happened, seen and heard. Both regions are there from the start, else nothing would be read.
export function Notices() {
  const shown = useStore(notices, (n) => n);
  const text = useStore(spoken, (s) => s);
  return (
    <>
      <div class="unseen" role="status" aria-live="polite">
        {text}
      </div>
      <div class="notices" role="region" aria-label="Messages" aria-live="polite">
        {shown.map((notice) => (
          <div key={notice.key} class={`notice ${notice.kind}`} role={notice.kind === "error" ? "alert" : undefined}>
            <p>{notice.text}</p>
            <button type="button" class="tool small" aria-label="Dismiss" onClick={() => dismiss(notice.key)}>
              <Icon name="close" />
            </button>
          </div>
        ))}
      </div>
    </>
  );
}
