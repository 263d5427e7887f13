// Why a photo or an event could not be used, and what to do: by the API's stable codes.

const REASONS = {
  event_empty: ["The record is empty", "Send the ad again as JSON."],
  event_not_json: ["The record is not JSON", "Correct the sender, then lalafo dlq replay."],
  event_not_object: ["The record is no JSON object", "Send one object an event."],
  event_unknown_schema: ["The event's schema is not known here", "Send schema 1."],
  event_unknown_kind: ["The event's kind is not known", "Send upserted or deleted."],
  event_missing_field: ["A field is missing", "Send it; the detail names it."],
  event_wrong_type: ["A field has the wrong type", "Correct it; the detail names it."],
  event_bad_revision: ["The revision can't be used", "Send a whole number from 0 on that grows."],
  event_text_too_long: ["A text is too long", "Shorten it; the detail says how much fits."],
  event_too_many_photos: ["Too many photos", "Send fewer; the detail says how many fit."],
  event_key_mismatch: ["The record's key is not its ad's", "Key records by catalog/ad_id."],
  stream_offset_out_of_log: [
    "Kafka no longer has what was next",
    "Keep the topic longer; send again what was lost.",
  ],
  fetch_bad_url: ["The address can't be used", "Send a whole http or https address."],
  fetch_address_refused: [
    "The address leads where photos may not come from",
    "Use a public address.",
  ],
  fetch_unreachable: [
    "The photo's host can't be reached",
    "Check the host; post the ad again then.",
  ],
  fetch_timeout: ["The photo's host was too slow", "Post the ad again later."],
  fetch_too_large: ["The photo has too many bytes", "Save it smaller, and post it again."],
  fetch_too_many_redirects: ["The address leads in circles", "Send the photo's final address."],
  fetch_not_found: [
    "There is no photo at the address",
    "Correct the address, or upload the photo.",
  ],
  fetch_http_error: ["The photo's host is in trouble", "Post the ad again later."],
  fetch_http_refused: ["The photo's host refuses", "Make it public, or upload the photo."],
  fetch_not_a_photo: [
    "The address has something else than a photo",
    "Send the photo's own address.",
  ],
  fetch_unknown_sha256: ["No photo of that SHA-256 is known", "Upload its bytes first."],
  photo_empty: ["The file is empty", "Choose it again: saving it may have failed."],
  photo_unknown_format: ["Not a photo that can be read", "Save it as JPEG, PNG, WebP or AVIF."],
  photo_truncated: ["The end of the photo is missing", "Copy or upload it again, whole."],
  photo_broken: ["The photo's bytes are damaged", "Open and save it anew, then post it again."],
  photo_too_large: ["The photo has too many pixels", "Scale it down, and post it again."],
  photo_too_small: ["The photo is too small to judge", "Post a larger one."],
};

/** {what, todo} of a code; a new one says its own name. */
export function reason(code) {
  const [what, todo] = REASONS[code] ?? [code, "See the detail."];
  return { what, todo };
}
