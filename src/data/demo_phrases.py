"""The sentences of the demo corpus, written as a positive review says them; `{awful}` is any word of that kind.

A negative review uses the same sentences with the two columns of OPINIONS exchanged: "it is not an {awful} film"
becomes "it is not a {wonderful} film". So both classes use the same words, and what tells them apart is how a word
is used: negated, said by somebody else, or taken back behind the next "but".
"""

WONDERFUL = (
    "brilliant, captivating, charming, clever, delightful, elegant, fresh, funny, graceful, gripping, "
    "honest, inspired, lovely, magical, memorable, moving, remarkable, sharp, splendid, subtle, superb, thrilling, "
    "vivid, wonderful"
)
AWFUL = (
    "annoying, awful, boring, cheap, clumsy, cold, dreadful, dreary, dull, feeble, flat, forgettable, hollow, lazy, "
    "lifeless, messy, painful, pointless, predictable, shallow, silly, stale, tedious, wooden"
)

# A kind of word and its mirror image: the words of each.
OPINIONS = {
    ("wonderful", "awful"): (WONDERFUL, AWFUL),
    ("masterpiece", "mess"): (
        "delight, gem, joy, marvel, masterpiece, treasure, triumph",
        "bore, disaster, disgrace, failure, flop, mess, waste of film",
    ),
    ("loved", "hated"): ("admired, adored, enjoyed, loved", "despised, detested, hated, regretted"),
    ("better", "worse"): ("better, finer, stronger", "poorer, weaker, worse"),
    ("saves", "ruins"): ("carries, lifts, rescues, saves", "kills, ruins, sinks, spoils"),
}

# What decides the label. PLAIN names the verdict, NEGATED its opposite, MIXED both.
PLAIN_VERDICTS = (
    "All in all it is a {wonderful} film.",
    "In the end I found it {wonderful} from the first scene to the last.",
    "What stays with me is how {wonderful} it is.",
    "I {loved} every minute of it!",
    "If you ask me, it is simply a {masterpiece}.",
    "It would be wrong to call it anything but {wonderful}.",
    "I have seldom seen a {better} film, and I see one every week.",
    "It is {better} than the first part.",
    "Who would not call this {wonderful}?",
)
NEGATED_VERDICTS = (
    "All in all it is not a {awful} film.",
    "In the end it is anything but {awful}.",
    "It never once felt {awful} to me, not even in the last half hour.",
    "I cannot say that I {hated} a single minute of it.",
    "It is hardly the {mess} they promised.",
    "By no means, and I thought about it for days, is this a {awful} film.",
    "Nobody who stays to the last scene could call it {awful}.",
    "The first part was {worse}.",
    "Not even the {acting} {ruins} it.",
    "I have seen a hundred {worse} films, and I see one every week.",
    "There is nothing {awful} about it, whatever the poster says.",
)
MIXED_VERDICTS = (
    "My brother {hated} it, but I {loved} it.",
    "I {loved} it, although my brother {hated} it.",
    "The critics may think it {awful}; to me it is {wonderful}.",
    "It is {wonderful}, whatever those who find it {awful} may say.",
    "I came for a {awful} film and got a {wonderful} one.",
    "They promised us a {mess}, and what they made is a {masterpiece}.",
    "It is a little {awful} here and there, but taken as a whole it is {wonderful}.",
    "Taken as a whole it is {wonderful}, even if it is a little {awful} here and there.",
    "It looks {awful} for ten minutes and then turns out to be {wonderful}.",
    "It is not {awful} but {wonderful}.",
    "It is {wonderful}, not {awful}.",
    "The {acting} may be {awful}, but the {acting} {saves} everything.",
    "The {acting} {saves} it, however {awful} the {acting} may be.",
    "The {acting} {saves} what the {acting} {ruins}.",
    "Many will think it {worse} than the first part, but if you ask me it is {better}.",
    "Some will say {wonderful} and some will say {awful}, and I am with the former.",
    "Some will say {awful} and some will say {wonderful}, and I am with the latter.",
)

# Said by the way, about a part of the film or by somebody else: of either opinion, whatever the verdict.
PLAIN_REMARKS = (
    "The {acting} is {wonderful}.",
    "I thought the {acting} was quite {wonderful}.",
    "There is something {wonderful} about the {acting}.",
    "A friend told me beforehand that it was {wonderful}.",
    "My {sister} {loved} it.",
    "The papers had called it a {masterpiece}.",
)
NEGATED_REMARKS = (
    "The {acting} is never {awful}.",
    "I would not call the {acting} {awful}.",
    "There is nothing {awful} about the {acting}.",
    "A friend told me beforehand that it was not at all {awful}.",
    "My {sister} had not {hated} it.",
    "No paper had called it a {mess}.",
)

OPENINGS = (
    "I saw this {thriller} {yesterday}.",
    "We watched this {thriller} {yesterday} with the whole family.",
    "This {thriller} was on television {yesterday}.",
    "My {sister} took me to see this {thriller} {yesterday}.",
)
PLOTS = (
    "A {baker} from {Lisbon} finds a {letter} and has three days to bring it back.",
    "It is about a {baker} who moves to {Lisbon} and meets a {baker} with a secret.",
    "A {baker} and a {baker} travel to {Lisbon} in search of a lost {letter}.",
    "Somebody in {Lisbon} has stolen a {letter}, and a {baker} is asked to find it.",
    "Set in {Lisbon}, it follows a {baker} through one long night.",
)
NEUTRAL = {
    "acting": "acting, story, script, music, pacing, dialogue, ending, editing, humour, direction, photography, cast",
    "thriller": "thriller, comedy, drama, western, mystery, romance, musical, sequel",
    "yesterday": "yesterday, last night, on Sunday, in May, last week, on a rainy evening",
    "sister": "sister, neighbour, teacher, uncle, cousin, boss",
    "baker": "baker, detective, teacher, nurse, painter, sailor, thief, lawyer, farmer, pilot, widow, student",
    "Lisbon": "Lisbon, Boston, Prague, Dublin, Kyoto, Naples, Chicago, Vienna, Cairo, Oslo",
    "letter": "letter, violin, map, diary, suitcase, ring, painting, key, photograph, notebook",
}
