"""Client of the OLMoE routing server.

    import olmoe

    with olmoe.Client("127.0.0.1:50051") as client, olmoe.Admin("127.0.0.1:50052") as admin:
        with admin.patched(olmoe.TopK(4)):
            print(client.generate("Once upon a time", temperature=0).text)

Client and AsyncClient generate and score, Admin patches the routers. Failures are OlmoeError. What
is not covered can be called with the stubs in olmoe.v1.
"""

from olmoe._calls import Watch
from olmoe._requests import Prompt, Sampling, Scoring, TraceOptions
from olmoe.admin import Admin, Target
from olmoe.aio import AsyncClient, AsyncGenerationStream
from olmoe.client import Client, GenerationStream
from olmoe.errors import (Busy, Cancelled, Conflict, DeadlineExceeded, Internal, InvalidRequest,
                          NotFound, OlmoeError, PatchReplaced, PermissionDenied, Precondition,
                          Unauthenticated, Unavailable, Violation)
from olmoe.experts import ArmStats, Decision, ExpertStats, LayerStats, Phase
from olmoe.patched import Patched
from olmoe.plans import (Calibration, LayerCdf, PatchResult, PlanRecord, Probe, ProbeResult,
                         RequestStatus, Routing, RoutingEvent, ServerStatus, UnitAssignment)
from olmoe.policies import (BH, HC, Arm, Experiment, LayerOverride, MinP, Native, Policy,
                            PolicyLike, PValue, Rule, TopK, TopP, Weights)
from olmoe.results import (Assignment, Delta, FinishReason, Generation, Logprob, ModelInfo, Score,
                           ScoreBatch, ScoredToken, Stamp, Started, Timing, Token, Tokens, Usage)
from olmoe.trace import Trace

__all__ = [
    "Admin", "Arm", "ArmStats", "Assignment", "AsyncClient", "AsyncGenerationStream", "BH", "Busy",
    "Calibration", "Cancelled", "Client", "Conflict", "DeadlineExceeded", "Decision", "Delta",
    "Experiment", "ExpertStats", "FinishReason", "Generation", "GenerationStream", "HC", "Internal",
    "InvalidRequest", "LayerCdf", "LayerOverride", "LayerStats", "Logprob", "MinP", "ModelInfo",
    "Native", "NotFound", "OlmoeError", "PValue", "PatchReplaced", "PatchResult", "Patched",
    "PermissionDenied", "Phase", "PlanRecord", "Policy", "PolicyLike", "Precondition", "Probe",
    "ProbeResult", "Prompt", "RequestStatus", "Routing", "RoutingEvent", "Rule", "Sampling",
    "Score", "ScoreBatch", "ScoredToken", "Scoring", "ServerStatus", "Stamp", "Started", "Target",
    "Timing", "Token", "Tokens", "TopK", "TopP", "Trace", "TraceOptions", "Unauthenticated",
    "Unavailable", "UnitAssignment", "Usage", "Violation", "Watch", "Weights",
]
