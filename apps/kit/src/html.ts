/** Text that may stand anywhere in HTML, inside quoted attributes too. */
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
