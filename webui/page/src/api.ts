// One question to the server beside the stream.

/** Where the token that the reader has entered is kept, in the tab's session storage. */
export const tokenKey = 'loopscope-token';

export class ApiError extends Error {
  constructor(
    /** 0: no answer at all. */
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Throws ApiError, or what the signal aborts with. */
export async function getJson<T>(path: string, parameters: Record<string, string>, signal: AbortSignal): Promise<T> {
  const token = sessionStorage.getItem(tokenKey);
  const query = new URLSearchParams(parameters).toString();
  let response: Response;
  try {
    response = await fetch(query ? `${path}?${query}` : path, {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      cache: 'no-store',
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, 'the server does not answer');
  }
  if (response.ok) return (await response.json()) as T;
  const told = await response.json().catch(() => null);
  throw new ApiError(response.status, String(told?.error?.message ?? `status ${response.status}`));
}
