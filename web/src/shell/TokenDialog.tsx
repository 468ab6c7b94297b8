import { useState } from "preact/hooks";
import { tokenWanted, enterToken } from "../state/app";
import { useStore } from "../state/store";
import { Dialog } from "../ui/Dialog";
import { hasToken } from "../api/client";

// Asked for when the server answers 401.
export function TokenDialog() {
  const wanted = useStore(tokenWanted, (w) => w);
  const [text, setText] = useState("");
  const [asked, setAsked] = useState(hasToken());
  if (!wanted) return null;
  return (
    <Dialog label="Token" class="small-dialog" onClose={() => tokenWanted.set(false)}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(true);
          if (text.trim()) enterToken(text.trim());
        }}
      >
        <h2 class="heading">This server asks for a token</h2>
        <p>{asked ? "The token was not accepted. " : ""}Whoever runs the server knows it. It is kept in this browser.</p>
        <div class="field">
          <label class="label" for="token">
            Token
          </label>
          <input id="token" class="input" type="password" autocomplete="current-password" value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </div>
        <button type="submit" class="press" disabled={!text.trim()}>
          <span>Open</span>
        </button>
      </form>
    </Dialog>
  );
}
