"""The smallest pipecat pipeline that bridges Twilio Media Streams to OpenAI Realtime.

Run in the environment of `bench/peers` only: python pipecat_bridge.py PORT AI_PORT
Written for the load bench from pipecat's documented parts; metrics and logging are off.
"""

from __future__ import annotations

import json
import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.websocket.fastapi import (
    FastAPIWebsocketParams,
    FastAPIWebsocketTransport,
)

PHONE_RATE_HZ = 8000


def service(ai_port: int) -> OpenAIRealtimeLLMService:
    """Return the AI's side: server turn detection, audio as pipecat uses it (24 kHz PCM)."""
    session = events.SessionProperties(
        audio=events.AudioConfiguration(
            input=events.AudioInput(
                format=events.PCMAudioFormat(), turn_detection=events.TurnDetection()
            ),
            output=events.AudioOutput(format=events.PCMAudioFormat(), voice="marin"),
        ),
        instructions="Answer briefly.",
    )
    return OpenAIRealtimeLLMService(
        api_key="no-key-needed",
        base_url=f"ws://127.0.0.1:{ai_port}/v1/realtime",
        settings=OpenAIRealtimeLLMService.Settings(
            model="gpt-realtime", session_properties=session
        ),
    )


def application(ai_port: int) -> FastAPI:
    """Return the web application with its one door."""
    app = FastAPI()

    @app.websocket("/media-stream")
    async def media_stream(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()  # connected
        start = json.loads(await websocket.receive_text())["start"]
        serializer = TwilioFrameSerializer(
            start["streamSid"],
            call_sid=start["callSid"],
            params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
        )
        transport = FastAPIWebsocketTransport(
            websocket,
            FastAPIWebsocketParams(
                audio_in_enabled=True,
                audio_out_enabled=True,
                add_wav_header=False,
                serializer=serializer,
            ),
        )
        pair = LLMContextAggregatorPair(LLMContext())
        parts = [
            transport.input(),
            pair.user(),
            service(ai_port),
            transport.output(),
            pair.assistant(),
        ]
        task = PipelineTask(
            Pipeline(parts),
            params=PipelineParams(
                audio_in_sample_rate=PHONE_RATE_HZ,
                audio_out_sample_rate=PHONE_RATE_HZ,
                enable_metrics=False,
                enable_usage_metrics=False,
            ),
        )

        @transport.event_handler("on_client_disconnected")
        async def gone(_transport: object, _client: object) -> None:
            await task.cancel()

        await PipelineRunner(handle_sigint=False).run(task)

    return app


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    uvicorn.run(
        application(int(sys.argv[2])),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
    )
