# The resource policy: may this machine have this resource?
#
# It is asked at each request. Its input and data have the shape that Trustee
# gives its resource policies (kbs/docs), so that a policy can move over.
# Written in Rego v1.
#
# input     the claims of the attestation token (EAR): submods.cpu0 has
#           "ear.status" and "ear.veraison.annotated-evidence", in which
#           init_data_digest is the digest of the machine's configuration
#
# data
#   plugin           "resource"
#   resource-path    ["default", "key", "x"]
#   query            the URL's query: name → value
#   images           what is known of images, as of now, as in the attestation policy
#   requirements     of images, as of now: rebuilt.rego tells
#   configurations   authorised ones, as of now: "sha256:…" → {resources: ["default/key/x", …]}
#
# output
#   allow, reasons   as in the attestation policy
package policy

import rego.v1

default allow := false

# A rule "reasons contains …" more, in a copy of this policy, makes it stricter.
allow if {
	granted
	count(reasons) == 0
}

granted if {
	data.plugin == "resource"
	affirming
	current
	path in data.configurations[digest].resources
}

path := concat("/", data["resource-path"])

evidence := "ear.veraison.annotated-evidence"

digest := input.submods.cpu0[evidence].init_data_digest

# Every device that was attested must be affirmed, not only the processor.
affirming if {
	count(input.submods) > 0
	every submod in input.submods {
		submod["ear.status"] == "affirming"
	}
}

# Every device must run what is trusted now, not only when it was attested.
current if {
	count(input.submods) > 0
	every name, _ in input.submods {
		name in running
	}
}

# — why not —

reasons contains why if {
	not granted
	some why in explanations
}

explanations contains "the token affirms no machine" if not affirming

explanations contains sprintf("configuration %s is not authorised any more", [digest]) if not data.configurations[digest]

explanations contains sprintf("configuration %s may not have resource %s", [digest, path]) if {
	data.configurations[digest]
	not path in data.configurations[digest].resources
}

# shown_images are what the evidence shows of the images that run.
explanations contains sprintf("image %s (%s) was revoked at %s: %s", [known.image, known.uki, known.at, known.reason]) if {
	known := data.images[shown_images[_]]
	known.status == "revoked"
}

explanations contains sprintf("image %s (%s) was good until %s", [known.image, known.uki, known.at]) if {
	known := data.images[shown_images[_]]
	known.status == "expired"
}

explanations contains sprintf("the image that shows %s is not trusted any more", [shown]) if {
	some shown in shown_images
	not data.images[shown]
}
