/** JSON objects that name a key twice: `JSON.parse` keeps the last one silently, which hides tensors. */

/**
 * The first key that some object of a valid JSON text has twice, or undefined.
 * @param text must already have been accepted by `JSON.parse`
 */
export function duplicateKey(text: string): string | undefined {
  // One set of keys per open object, undefined per open array; a string is a key if the token before is `{` or `,` of an object.
  const open: (Set<string> | undefined)[] = [];
  let expectsKey = false;
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case '{':
        open.push(new Set());
        expectsKey = true;
        break;
      case '[':
        open.push(undefined);
        break;
      case '}':
      case ']':
        open.pop();
        expectsKey = false;
        break;
      case ',':
        expectsKey = open.at(-1) !== undefined;
        break;
      case '"': {
        const start = i++;
        while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
        if (expectsKey) {
          const key = JSON.parse(text.slice(start, i + 1)) as string;
          const keys = open.at(-1)!;
          if (keys.has(key)) return key;
          keys.add(key);
          expectsKey = false;
        }
      }
    }
  }
  return undefined;
}
