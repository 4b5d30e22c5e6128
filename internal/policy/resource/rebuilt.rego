# Images that enough others have rebuilt, as of now: as in the attestation
# policy.
package policy

import rego.v1

rebuilt(_) if not data.requirements.rebuilders

rebuilt(shown) if {
	needed := data.requirements.rebuilders.at_least
	is_number(needed)
	needed >= 1
	count(rebuilders(shown)) >= needed
}

rebuilders(shown) := {who.key |
	some who in data.images[shown].rebuilt_by
	who.name in data.requirements.rebuilders.of
}

explanations contains sprintf("image %s (%s) was rebuilt by %d of %s; %v are required", [known.image, known.uki, count(rebuilders(shown)), concat(", ", needed.of), needed.at_least]) if {
	some shown in shown_images
	known := data.images[shown]
	needed := data.requirements.rebuilders
	not rebuilt(shown)
}
