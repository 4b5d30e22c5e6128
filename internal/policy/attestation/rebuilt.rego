# Images that enough others have rebuilt, byte for byte.
#
# data.requirements.rebuilders   absent, or {of: [name, …], at_least: N}: keys
#                                of N of these names must have said so
# data.images[…].rebuilt_by      who did: [{name, key}, …]
package policy

import rego.v1

# Without a requirement nothing is asked.
rebuilt if not data.requirements.rebuilders

rebuilt if {
	needed := data.requirements.rebuilders.at_least
	is_number(needed)
	needed >= 1
	count(rebuilders) >= needed
}

# One key counts once, whatever its names.
rebuilders contains who.key if {
	some who in data.images[shown_image].rebuilt_by
	who.name in data.requirements.rebuilders.of
}

explanations contains sprintf("image %s (%s) was rebuilt by %d of %s; %v are required", [known.image, known.uki, count(rebuilders), concat(", ", needed.of), needed.at_least]) if {
	known := data.images[shown_image]
	needed := data.requirements.rebuilders
	not rebuilt
}

explanations contains sprintf("the machine shows no image that is known to be rebuilt; %v of %v must have", [needed.at_least, needed.of]) if {
	needed := data.requirements.rebuilders
	not data.images[shown_image]
}
