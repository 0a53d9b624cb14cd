/* The AI of the load generator: OpenAI's Realtime dialect, as far as a bridge can tell.
 *
 * Part of generator.c (one translation unit). Order and names of events as the real server sends
 * them (GA); what the session asks for (who creates, who interrupts, which format) is obeyed.
 */

#define send_ai(line, ...) send_format(&(line)->ai, __VA_ARGS__)

/* The session as the server shows it; typed clients refuse one without its nested parts. */
static void send_session(Line *line, const char *event) {
    const char *format = line->is_pcm ? "{\"type\":\"audio/pcm\",\"rate\":24000}"
                                      : "{\"type\":\"audio/pcmu\"}";
    send_ai(line,
            "{\"type\":\"%s\",\"event_id\":\"event_s%u\",\"session\":{\"type\":\"realtime\","
            "\"id\":\"sess_%d\",\"object\":\"realtime.session\",\"model\":\"gpt-realtime\","
            "\"output_modalities\":[\"audio\"],\"instructions\":\"\",\"tools\":[],"
            "\"tool_choice\":\"auto\",\"max_output_tokens\":\"inf\",\"audio\":{\"input\":"
            "{\"format\":%s,\"turn_detection\":{\"type\":\"server_vad\",\"create_response\":%s,"
            "\"interrupt_response\":%s}},\"output\":{\"format\":%s,\"voice\":\"marin\"}}}}",
            event, line->turns, line->number, format, line->does_create ? "true" : "false",
            line->does_interrupt ? "true" : "false", format);
}

static void greet_client(Line *line) {
    send_session(line, "session.created");
    flush_or_lose(line, &line->ai);
}

static void take_session(Line *line, Slice session) {
    if (options.is_verbose)
        fprintf(stderr, "session: %.*s\n", (int)session.size, session.at ? session.at : "");
    if (session.at) {
        if (contains(session, "format"))
            line->is_pcm = contains(session, "audio/pcm\"") || contains(session, "\"pcm16\"");
        Slice detection = json_get(json_get(json_get(session, "audio"), "input"), "turn_detection");
        if (!detection.at) detection = json_get(session, "turn_detection");
        line->does_create = !json_is(json_get(detection, "create_response"), "false");
        line->does_interrupt = !json_is(json_get(detection, "interrupt_response"), "false");
    }
    send_session(line, "session.updated");
    if (!line->is_ready) line->frames = 0;
    line->is_ready = true;
}

/* ------------------------------------------------------------------ the caller's turns */

static void begin_turn(Line *line, int64_t now, bool is_barge_in) {
    int64_t start_ms = (int64_t)(line->appended_bytes / 8) - 300; /* the detector's padding */
    line->turns++;
    close_barge_in(line);
    send_ai(line,
            "{\"type\":\"input_audio_buffer.speech_started\",\"event_id\":\"event_b%u\","
            "\"audio_start_ms\":%lld,\"item_id\":\"item_t%d_%u\"}",
            line->turns, (long long)(start_ms > 0 ? start_ms : 0), line->number, line->turns);
    line->stage = LISTENING;
    if (!is_barge_in) {
        line->stop_due_ns = now + 300 * NS_PER_MS;
        return;
    }
    line->old_class = line->coming;
    line->heard_old_ns = 0;
    line->old_after_clear = 0;
    line->cleared_ns = 0;
    line->barge_ns = now;
    line->speech_frame = 0;
    line->speech_left = options.speech_ms / FRAME_MS;
    line->speech_end = 0;
    line->stop_due_ns = now + (options.speech_ms + options.silence_ms) * NS_PER_MS;
    line->coming = (line->coming + 1) % CLASSES;
    if (line->coming == 0) tally.cycles += is_measuring;
    if (line->does_interrupt && line->is_active && !line->is_cancelled) {
        line->is_cancelled = true;
        line->deltas_left = line->deltas_left < options.late_deltas ? line->deltas_left
                                                                     : options.late_deltas;
    }
}

static void end_turn(Line *line, int64_t now) {
    send_ai(line,
            "{\"type\":\"input_audio_buffer.speech_stopped\",\"event_id\":\"event_e%u\","
            "\"audio_end_ms\":%llu,\"item_id\":\"item_t%d_%u\"}",
            line->turns, (unsigned long long)(line->appended_bytes / 8), line->number, line->turns);
    send_ai(line,
            "{\"type\":\"input_audio_buffer.committed\",\"event_id\":\"event_c%u\","
            "\"previous_item_id\":null,\"item_id\":\"item_t%d_%u\"}",
            line->turns, line->number, line->turns);
    send_ai(line,
            "{\"type\":\"conversation.item.added\",\"event_id\":\"event_a%u\",\"previous_item_id\":"
            "null,\"item\":{\"id\":\"item_t%d_%u\",\"object\":\"realtime.item\",\"type\":"
            "\"message\",\"status\":\"completed\",\"role\":\"user\",\"content\":[{\"type\":"
            "\"input_audio\",\"transcript\":null}]}}",
            line->turns, line->number, line->turns);
    line->stage = WANTED;
    line->deadline_ns = now + 5000 * NS_PER_MS;
    line->answer_due_ns = line->does_create ? now + options.think_ms * NS_PER_MS : 0;
}

/* ------------------------------------------------------------------ answers */

static void send_item(Line *line, const char *event, const char *status) {
    send_ai(line,
            "{\"type\":\"%s\",\"event_id\":\"event_i%u\",\"previous_item_id\":null,\"response_id\":"
            "\"resp_%d_%u\",\"output_index\":0,\"item\":{\"id\":\"item_a%d_%u\",\"object\":"
            "\"realtime.item\",\"type\":\"message\",\"status\":\"%s\",\"role\":\"assistant\","
            "\"content\":[]}}",
            event, line->answers, line->number, line->answers, line->number, line->answers, status);
}

static void send_part(Line *line, const char *event, const char *more) {
    send_ai(line,
            "{\"type\":\"%s\",\"event_id\":\"event_p%u\",\"response_id\":\"resp_%d_%u\","
            "\"item_id\":\"item_a%d_%u\",\"output_index\":0,\"content_index\":0%s}",
            event, line->answers, line->number, line->answers, line->number, line->answers, more);
}

static void send_response(Line *line, const char *event, const char *status) {
    send_ai(line,
            "{\"type\":\"%s\",\"event_id\":\"event_r%u\",\"response\":{\"object\":"
            "\"realtime.response\",\"id\":\"resp_%d_%u\",\"status\":\"%s\",\"status_details\":%s,"
            "\"output\":[],\"output_modalities\":[\"audio\"],\"metadata\":%s,\"usage\":%s}}",
            event, line->answers, line->number, line->answers, status,
            strcmp(status, "cancelled") ? "null"
                                        : "{\"type\":\"cancelled\",\"reason\":\"turn_detected\"}",
            line->turn_meta[0] ? line->turn_meta : "null",
            strcmp(event, "response.done")
                ? "null"
                : "{\"total_tokens\":100,\"input_tokens\":60,\"output_tokens\":40,"
                  "\"input_token_details\":{\"text_tokens\":20,\"audio_tokens\":40,"
                  "\"cached_tokens\":0},\"output_token_details\":{\"text_tokens\":10,"
                  "\"audio_tokens\":30}}");
}

static void begin_answer(Line *line, int64_t now) {
    if (line->is_active) return; /* the last one's late deltas are still leaving: next tick */
    line->answers++;
    line->stage = ANSWERING;
    line->answer_due_ns = 0;
    line->is_active = true;
    line->is_cancelled = false;
    line->deltas_left = options.answer_ms[line->coming] / DELTA_MS;
    line->answer_total = (uint64_t)options.answer_ms[line->coming] * 8;
    line->block = 0;
    line->created_ns = line->delta_due_ns = now;
    line->answer_bytes = 0;
    line->first_media_ns = 0;
    tally.answers += is_measuring;
    send_response(line, "response.created", "in_progress");
    send_item(line, "response.output_item.added", "in_progress");
    send_item(line, "conversation.item.added", "in_progress");
    send_part(line, "response.content_part.added", ",\"part\":{\"type\":\"audio\",\"transcript\":\"\"}");
}

static void end_answer(Line *line) {
    const char *status = line->is_cancelled ? "cancelled" : "completed";
    send_part(line, "response.output_audio.done", "");
    send_part(line, "response.output_audio_transcript.done", ",\"transcript\":\"An answer.\"");
    send_part(line, "response.content_part.done",
              ",\"part\":{\"type\":\"audio\",\"transcript\":\"An answer.\"}");
    send_item(line, "response.output_item.done",
              line->is_cancelled ? "incomplete" : "completed");
    send_item(line, "conversation.item.done", line->is_cancelled ? "incomplete" : "completed");
    send_response(line, "response.done", status);
    line->is_active = false;
}

/* The class of the answer that is being given: an interruption has already moved on to the next. */
static int class_given(const Line *line) {
    return line->old_class >= 0 && line->stage != ANSWERING ? line->old_class : line->coming;
}

static void send_delta(Line *line) {
    static char text[DELTA_BYTES * 12];
    int class = class_given(line);
    int n = snprintf(text, sizeof text,
                     "{\"type\":\"response.output_audio.delta\",\"event_id\":\"event_d%u_%d\","
                     "\"response_id\":\"resp_%d_%u\",\"item_id\":\"item_a%d_%u\","
                     "\"output_index\":0,\"content_index\":0,\"delta\":\"%s\"}",
                     line->answers, line->block, line->number, line->answers, line->number,
                     line->answers,
                     line->is_pcm ? delta_pcm[class] : delta_text[class][line->block % voice_blocks]);
    send_text(&line->ai, text, (size_t)n);
    line->block++;
    line->deltas_left--;
    tally.deltas += is_measuring;
    tally.late_deltas += is_measuring && line->is_cancelled;
}

static void give_answer(Line *line, int64_t now) {
    int64_t step_ns = DELTA_MS * NS_PER_MS / options.speed;
    /* A quarter of a step early, else a tick that jitters around the due time gives none, then two. */
    while (line->is_active && now >= line->delta_due_ns - step_ns / 4) {
        if (line->deltas_left > 0) send_delta(line);
        line->delta_due_ns += step_ns;
        if (line->deltas_left <= 0) end_answer(line);
    }
}

/* ------------------------------------------------------------------ the clock of a call's talk */

/* The first answer is not interrupted: all of it must be heard before the next turn begins. */
static void watch_whole(Line *line, int64_t now) {
    bool is_whole = line->answer_bytes >= line->answer_total && !line->is_active;
    int64_t patience_ns = (options.answer_ms[0] + 3000) * NS_PER_MS;
    if (is_whole && now < line->ear.end_ns + 300 * NS_PER_MS) return;
    if (!is_whole && now < line->created_ns + patience_ns) return;
    if (!is_whole) {
        tally.short_answers += is_measuring;
        if (options.is_verbose)
            fprintf(stderr, "call %d: %llu of %llu bytes\n", line->number,
                    (unsigned long long)line->answer_bytes, (unsigned long long)line->answer_total);
    }
    line->coming = 1;
    begin_turn(line, now, false);
}

static void watch_answer(Line *line, int64_t now) {
    if (!strcmp(options.mode, "fill")) return;
    if (line->coming == 0) {
        watch_whole(line, now);
        return;
    }
    int64_t into_ns = options.into_ms[line->coming] * NS_PER_MS;
    if (line->first_media_ns && now >= line->first_media_ns + into_ns) {
        begin_turn(line, now, true);
    } else if (!line->first_media_ns && now >= line->created_ns + 5000 * NS_PER_MS) {
        tally.mute_answers += is_measuring;
        begin_turn(line, now, true);
    }
}

/* An AI knows of an end by the audio it was given, not by the clock: where a bridge is behind with the
 * caller's frames, a report by the clock would tell of less speech than there was. A bridge that loses
 * frames gets its turn ended 2 s later all the same. */
static bool has_heard_end(const Line *line, int64_t now) {
    if (now < line->stop_due_ns) return false;
    if (line->old_class < 0 || now >= line->stop_due_ns + 2000 * NS_PER_MS) return true;
    uint64_t silence = (uint64_t)options.silence_ms / FRAME_MS;
    return line->speech_end && line->appended_frames >= line->speech_end + silence;
}

static void ai_tick(Line *line, int64_t now) {
    if (line->is_active) give_answer(line, now);
    switch (line->stage) {
    case RESTING:
        if (go_ns && now >= line->start_ns) begin_turn(line, now, false);
        break;
    case LISTENING:
        if (has_heard_end(line, now)) end_turn(line, now);
        break;
    case WANTED:
        if (line->answer_due_ns && now >= line->answer_due_ns) {
            begin_answer(line, now);
        } else if (now >= line->deadline_ns) {
            tally.lost_turns += is_measuring;
            begin_turn(line, now, false);
        }
        break;
    case ANSWERING:
        watch_answer(line, now);
        break;
    }
    if (conn_unsent(&line->ai)) flush_or_lose(line, &line->ai);
}

/* ------------------------------------------------------------------ what the client says */

static void take_append(Line *line, Slice audio, int64_t now) {
    size_t bytes = base64_bytes(audio.at, audio.size);
    if (line->is_pcm) bytes /= 6; /* 24 kHz, 16 bits: counted as the 8 kHz bytes they were */
    line->appended_bytes += bytes;
    tally.appends += is_measuring;
    /* By counting, for bridges join frames, keep them back or clean them; the stamp tells whether a
     * frame that came through untouched is the one that was counted. */
    uint8_t three[3];
    for (; (line->appended_frames + 1) * FRAME_BYTES <= line->appended_bytes; line->appended_frames++) {
        uint32_t number = (uint32_t)line->appended_frames + 1;
        if (is_measuring) spread_add(&tally.in, now - line->sent_ns[number % SENT_KEPT]);
        if (bytes != FRAME_BYTES || base64_decode(audio.at, 4, three) != 3) continue;
        if ((three[0] & 0xf0) != 0xf0 || (three[1] & 0xf0) != 0xf0) continue;
        uint32_t stamp = (uint32_t)(three[0] & 15) << 4 | (three[1] & 15);
        tally.shifted += is_measuring && stamp != number % SENT_KEPT && stamp != 0xff;
    }
}

static void take_create(Line *line, Slice text, int64_t now) {
    Slice meta = json_get(json_get(text, "response"), "metadata");
    if (line->is_active || line->answer_due_ns) {
        send_ai(line, "{\"type\":\"error\",\"event_id\":\"event_x\",\"error\":{\"type\":"
                "\"invalid_request_error\",\"code\":\"conversation_already_has_active_response\","
                "\"message\":\"there is an active response\",\"event_id\":\"%.*s\"}}",
                (int)json_get(text, "event_id").size, json_get(text, "event_id").at);
        tally.errors += is_measuring;
        return;
    }
    if (meta.size && meta.size < sizeof line->turn_meta && *meta.at == '{') {
        memcpy(line->turn_meta, meta.at, meta.size);
        line->turn_meta[meta.size] = 0;
    }
    if (line->stage == WANTED) line->answer_due_ns = now + options.think_ms * NS_PER_MS;
    else if (options.is_verbose) fprintf(stderr, "call %d: an unasked response.create\n", line->number);
}

static void take_cancel(Line *line, Slice text) {
    tally.cancels += is_measuring;
    if (line->is_active) {
        if (line->is_cancelled) return;
        line->is_cancelled = true;
        if (line->deltas_left > options.late_deltas) line->deltas_left = options.late_deltas;
        return;
    }
    Slice id = json_get(text, "event_id");
    send_ai(line, "{\"type\":\"error\",\"event_id\":\"event_x\",\"error\":{\"type\":"
            "\"invalid_request_error\",\"code\":\"response_cancel_not_active\",\"message\":"
            "\"Cancellation failed: no active response found\",\"param\":null,\"event_id\":"
            "\"%.*s\"}}", (int)id.size, id.at ? id.at : "");
}

static void take_truncate(Line *line, Slice text) {
    Slice item = json_get(text, "item_id"), end = json_get(text, "audio_end_ms");
    tally.truncates += is_measuring;
    send_ai(line, "{\"type\":\"conversation.item.truncated\",\"event_id\":\"event_u\",\"item_id\":"
            "\"%.*s\",\"content_index\":0,\"audio_end_ms\":%.*s}", (int)item.size, item.at,
            (int)end.size, end.at);
}

static void take_ai(Line *line, Slice text, int64_t now) {
    Slice type = json_get(text, "type");
    if (json_is(type, "input_audio_buffer.append")) {
        take_append(line, json_get(text, "audio"), now);
    } else if (json_is(type, "session.update")) {
        take_session(line, json_get(text, "session"));
    } else if (json_is(type, "response.create")) {
        take_create(line, text, now);
    } else if (json_is(type, "response.cancel")) {
        take_cancel(line, text);
    } else if (json_is(type, "conversation.item.truncate")) {
        take_truncate(line, text);
    } else if (json_is(type, "conversation.item.delete")) {
        Slice item = json_get(text, "item_id");
        tally.deletes += is_measuring;
        send_ai(line, "{\"type\":\"conversation.item.deleted\",\"event_id\":\"event_l\","
                "\"item_id\":\"%.*s\"}", (int)item.size, item.at);
    } else if (options.is_verbose) {
        fprintf(stderr, "call %d: %.*s\n", line->number, (int)(text.size < 200 ? text.size : 200),
                text.at);
    }
}
