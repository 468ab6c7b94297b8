// Where an <img> finds a picture: by its address, or, as images send no token, as a blob that was fetched with it.
import { useEffect, useState } from "preact/hooks";
import { hasToken, request } from "../api/client";

const kKept = 200;
const blobs = new Map<string, Promise<string>>();

function blobOf(url: string): Promise<string> {
  const known = blobs.get(url);
  if (known) return known;
  const made = request(url).then((response) => response.blob()).then((blob) => URL.createObjectURL(blob));
  blobs.set(url, made);
  made.catch(() => blobs.delete(url));
  if (blobs.size > kKept) {
    const [oldest, value] = blobs.entries().next().value as [string, Promise<string>];
    blobs.delete(oldest);
    void value.then((address) => URL.revokeObjectURL(address), () => {});
  }
  return made;
}

export function usePicture(url: string | null): string | undefined {
  const direct = url !== null && !hasToken() ? url : undefined;
  const [blob, setBlob] = useState<{ url: string; address: string } | null>(null);
  useEffect(() => {
    if (url === null || direct !== undefined) return;
    let wanted = true;
    blobOf(url).then((address) => wanted && setBlob({ url, address }), () => {});
    return () => void (wanted = false);
  }, [url, direct]);
  return direct ?? (blob && blob.url === url ? blob.address : undefined);
}

export async function download(url: string, name: string): Promise<void> {
  const link = document.createElement("a");
  link.href = hasToken() ? await blobOf(url) : url;
  link.download = name;
  link.click();
}
