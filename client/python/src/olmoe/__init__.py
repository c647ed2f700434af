"""Client of the OLMoE routing server.

    import olmoe

    with olmoe.Client("127.0.0.1:50051") as client, olmoe.Admin("127.0.0.1:50052") as admin:
        with admin.patched(olmoe.TopK(4)):
            print(client.generate("Once upon a time", temperature=0).text)

Client and AsyncClient generate and score, Admin and AsyncAdmin patch the routers. Failures are
OlmoeError. What is not covered can be called with the stubs in olmoe.v1.
"""

from importlib import metadata

from olmoe import plots, policies
from olmoe._admin_calls import Target
from olmoe._aio_calls import AsyncWatch
from olmoe._calls import Watch
from olmoe._requests import Prompt, Sampling, Scoring, TraceOptions
from olmoe.admin import Admin
from olmoe.aio import AsyncClient, AsyncCompletionStream
from olmoe.aio_admin import AsyncAdmin, AsyncPatched
from olmoe.chat import ChatError, ChatRequest, ChatTemplate
from olmoe.client import Client, CompletionStream
from olmoe.corpus import Corpus, Question
from olmoe.errors import (Busy, Cancelled, Conflict, DeadlineExceeded, Internal, InvalidRequest,
                          NotFound, OlmoeError, PatchReplaced, PermissionDenied, Precondition,
                          Unauthenticated, Unavailable, Violation)
from olmoe.evaluation import Evaluation, EvaluationRow, evaluate
from olmoe.experts import ArmStats, Decision, ExpertStats, LayerStats, Phase
from olmoe.patched import Patched
from olmoe.plans import (Calibration, LayerCdf, PatchResult, PlanRecord, Probe, ProbeResult,
                         RequestStatus, Router, RouterLayer, Routing, RoutingEvent, ServerStatus,
                         UnitAssignment)
from olmoe.policies import *
from olmoe.recordings import RecordedPart, Recording, RecordingWriter, recording_metadata
from olmoe.replay import Replay, ReplayWeights
from olmoe.results import (Assignment, Choice, Completion, Delta, FinishReason, Logprob, ModelInfo,
                           Score, ScoreBatch, ScoredToken, Stamp, Started, Timing, Token, Tokens,
                           Usage)
from olmoe.trace import Trace

__all__ = [
    "Admin", "ArmStats", "Assignment", "AsyncAdmin", "AsyncClient", "AsyncCompletionStream",
    "AsyncPatched", "AsyncWatch", "Busy", "Calibration", "Cancelled", "ChatError", "ChatRequest",
    "ChatTemplate", "Choice", "Client", "Completion", "CompletionStream", "Conflict", "Corpus",
    "DeadlineExceeded", "Decision", "Delta", "Evaluation", "EvaluationRow", "ExpertStats",
    "FinishReason", "Internal", "InvalidRequest", "LayerCdf", "LayerStats", "Logprob", "ModelInfo",
    "NotFound", "OlmoeError", "PatchReplaced", "PatchResult", "Patched", "PermissionDenied",
    "Phase", "PlanRecord", "Precondition", "Probe", "ProbeResult", "Prompt", "Question",
    "RecordedPart", "Recording", "RecordingWriter", "Replay", "ReplayWeights", "RequestStatus",
    "Router", "RouterLayer", "Routing", "RoutingEvent", "Sampling", "Score", "ScoreBatch",
    "ScoredToken", "Scoring", "ServerStatus", "Stamp", "Started", "Target", "Timing", "Token",
    "Tokens", "Trace", "TraceOptions", "Unauthenticated", "Unavailable", "UnitAssignment", "Usage",
    "Violation", "Watch", "__version__", "evaluate", "plots", "recording_metadata",
]
__all__ += policies.__all__

# Of the installed package; the server has the same.
__version__ = metadata.version("olmoe")
