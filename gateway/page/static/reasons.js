// The reasons of failures, by the API's stable codes: what is wrong, and what to do.

const REASONS = {
  event_empty: ["The record is empty", "Send the ad again as JSON."],
  event_not_json: ["The record is not JSON", "Fix the sender, then run lalafo dlq replay."],
  event_not_object: ["The record is not a JSON object", "Send one JSON object per event."],
  event_unknown_schema: ["The event's schema is unknown", "Send schema 1."],
  event_unknown_kind: ["The event's kind is unknown", "Send upserted or deleted."],
  event_missing_field: ["A field is missing", "Send the field that the detail names."],
  event_wrong_type: ["A field has the wrong type", "Correct the field that the detail names."],
  event_bad_revision: ["The revision is not valid", "Send an increasing integer of 0 or more."],
  event_text_too_long: ["A text is too long", "Shorten it; the detail has the limit."],
  event_too_many_photos: ["Too many photos", "Send fewer; the detail has the limit."],
  event_key_mismatch: ["The record's key is not its ad's key", "Use catalog/ad_id as the key."],
  internal_error: ["An error of the program", "Report the detail, and post the ad again later."],
  quarantined: ["Sessions died of this record", "Report it: lalafo dlq show has the record."],
  stream_offset_out_of_log: [
    "Kafka has deleted events that were not read yet",
    "Increase the topic's retention, and send the lost ads again.",
  ],
  stream_batch_unreadable: [
    "Records on the topic can't be decoded",
    "Install what is missing, or skip them: the detail says how.",
  ],
  stream_topic_recreated: [
    "The topic was deleted and created again",
    "Nothing: it is read from its beginning. Send what the old one still had.",
  ],
  fetch_bad_url: ["The URL is not valid", "Send a complete http or https URL."],
  fetch_address_refused: [
    "The URL leads to an address that is not allowed",
    "Use a public address.",
  ],
  fetch_unreachable: [
    "The photo's host can't be reached",
    "Check the host, then post the ad again.",
  ],
  fetch_timeout: ["The photo's host was too slow", "Post the ad again later."],
  fetch_too_large: ["The photo's file is too large", "Save a smaller file, and post the ad again."],
  fetch_too_many_redirects: ["The URL redirects too often", "Send the photo's final URL."],
  fetch_not_found: ["There is no photo at the URL", "Correct the URL, or upload the photo."],
  fetch_http_error: ["The photo's host returned an error", "Post the ad again later."],
  fetch_http_refused: [
    "The photo's host refused the request",
    "Make the photo public, or upload it.",
  ],
  fetch_not_a_photo: ["The URL does not return a photo", "Send the URL of the photo itself."],
  fetch_unknown_sha256: ["No photo with this SHA-256 is known", "Upload the photo first."],
  photo_empty: ["The file is empty", "Choose it again: saving it may have failed."],
  photo_unknown_format: ["Unsupported photo format", "Save it as JPEG, PNG, WebP or AVIF."],
  photo_truncated: ["The photo's file is truncated", "Copy or upload the complete file again."],
  photo_broken: ["The photo's file is corrupt", "Open and save it again, then post it again."],
  photo_too_large: ["The photo has too many pixels", "Scale it down, and post it again."],
  photo_too_small: ["The photo is too small to score", "Post a larger one."],
};

/** Returns {what, todo} for a code; an unknown code is shown as it is. */
export function reason(code) {
  const [what, todo] = REASONS[code] ?? [code, "See the detail."];
  return { what, todo };
}
