package holdfast

import rego.v1

said["allow"] := data.policy.allow

said["reasons"] := data.policy.reasons

said["trust_claims"] := data.policy.trust_claims

said["extensions"] := data.policy.extensions
