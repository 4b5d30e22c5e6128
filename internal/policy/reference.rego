package policy

import rego.v1

# As in Trustee's attestation service: the value with this name, or null.
query_reference_value(name) := value if {
	value := data.reference_values[name]
} else := null
