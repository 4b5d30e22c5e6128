# Devices beside the processor (gpu0, switch0 …) run no image of ours: the
# attestation policy of their class has judged them, and affirming still asks
# for each.
package policy

import rego.v1

running contains name if {
	some name, _ in input.submods
	not startswith(name, "cpu")
}
