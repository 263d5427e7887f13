// The reasons of failures, by the API's stable codes: what is wrong, and what helps.
// The third entry says that sending the same again can help; a test compares the codes with the API.

const RETRIED = "It is tried again by itself. To try at once, post the ad again.";

const REASONS = {
  event_empty: ["The record is empty", "Correct the sender: it must send the ad as JSON."],
  event_not_json: ["The record is not JSON", "Correct the sender: it must send the ad as JSON."],
  event_not_object: ["The record is not a JSON object", "Send one JSON object per record."],
  event_unknown_schema: ["The event's schema is unknown", "Send schema 1."],
  event_unknown_kind: ["The event's kind is unknown", "Send upserted or deleted."],
  event_missing_field: ["A field is missing", "Send the field that the detail names."],
  event_wrong_type: ["A field has the wrong type", "Correct the field that the detail names."],
  event_bad_revision: ["The revision is not valid", "Send an increasing integer of 0 or more."],
  event_text_too_long: ["A text is too long", "Shorten it: the detail has the limit."],
  event_too_many_attributes: ["Too many attributes", "Send fewer: the detail has the limit."],
  event_too_many_photos: ["Too many photos", "Send fewer: the detail has the limit."],
  event_key_mismatch: ["The record's key is not its ad's key", "Use catalog/ad_id as the key."],
  internal_error: ["An error of the program", "Report the detail: it is not the ad's fault."],
  quarantined: ["Sessions died of this record", "Report it: lalafo dlq show prints the record."],
  stream_offset_out_of_log: [
    "Kafka has deleted events that were not read yet",
    "Increase the topic's retention. The ads that are lost must come from their sender.",
  ],
  stream_batch_unreadable: [
    "Records on the topic can't be decoded",
    "Install what is missing, or skip them: the detail says how.",
  ],
  stream_topic_recreated: [
    "The topic was deleted and created anew",
    "Nothing to do here: it is read from its beginning. What the old topic still had is lost.",
  ],
  fetch_bad_url: ["The URL is not valid", "Correct it: a complete http or https URL."],
  fetch_address_refused: [
    "The URL leads to an address that is not allowed",
    "Use a public address, or upload the photo.",
  ],
  fetch_unreachable: ["The photo's host can't be reached", RETRIED, true],
  fetch_timeout: ["The photo's host was too slow", RETRIED, true],
  fetch_too_large: ["The photo's file is too large", "Save a smaller file, and post that."],
  fetch_too_many_redirects: ["The URL redirects too often", "Send the photo's final URL."],
  fetch_not_found: ["There is no photo at the URL", "Correct the URL, or upload the photo."],
  fetch_http_error: ["The photo's host returned an error", RETRIED, true],
  fetch_http_refused: [
    "The photo's host refused the request",
    "Make the photo public, or upload it.",
  ],
  fetch_not_a_photo: ["The URL does not return a photo", "Send the URL of the photo itself."],
  fetch_unknown_sha256: ["No photo with this SHA-256 is known", "Upload the photo first."],
  photo_empty: ["The file is empty", "Choose another file: saving this one may have failed."],
  photo_unknown_format: ["Unsupported photo format", "Save it as JPEG, PNG, WebP or AVIF."],
  photo_truncated: ["The photo's file is truncated", "Copy or upload the complete file."],
  photo_broken: [
    "The photo's file is corrupt",
    "Open it in a program for photos and save it anew.",
  ],
  photo_too_large: ["The photo has too many pixels", "Scale it down."],
  photo_too_small: ["The photo is too small to score", "Use a larger one."],
};

/** The codes of failures of photos and of events, with what is wrong. */
export const REASON_CODES = Object.entries(REASONS).map(([code, [what]]) => [code, what]);

/** Returns {what, todo, again} for a code; an unknown code is shown as it is. */
export function reason(code) {
  const [what, todo, again = false] = REASONS[code] ?? [code, "See the detail."];
  return { what, todo, again };
}
