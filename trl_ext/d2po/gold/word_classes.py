"""Frequent English words by class, for the tagger that needs no data. Lower case."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Determiners and possessives: what follows is, sooner or later, a noun.
DETERMINERS = _words(
    "a all an another any both each either every few her his its less many more most my neither no our several some "
    "such that the their these this those what which whose your"
)
# Subjects: what follows is a verb.
PRONOUNS = _words("he i it she there they we who you")
MODALS = _words("'d 'll ca can could may might must sha shall should will wo would ’d ’ll")
AUXILIARIES = _words(
    "'m 're 's 've am are be been being did do does doing done had has have having is was were ’m ’re ’s ’ve"
)
PREPOSITIONS = _words(
    "about above across after against along among around as at before behind below beneath beside besides between "
    "beyond by despite down during except for from in inside into like near of off on onto out outside over past per "
    "since than through throughout to toward towards under unlike until up upon via with within without"
)
# Everything else that is neither a noun nor an adjective nor a verb.
OTHERS = _words(
    "again ago almost already also although always and anyone anything apart away back because but eight eleven else "
    "enough etc even ever everybody everyone everything far first five four hello here hers herself hi him himself "
    "how however hundred if indeed instead itself just later least maybe me million mine much myself n't never nine "
    "nobody nor not nothing now n’t often oh ok okay once one only or otherwise ours ourselves perhaps please quite "
    "rarely rather second seven six so somebody someone something sometimes soon still ten theirs them themselves "
    "then therefore third thirty though thousand three thus today together tomorrow too twelve twenty twice two "
    "unless us usually very well when where whereas whether while whom why yes yesterday yet yours yourself"
)
# Base forms. Many are nouns too, so the words around them decide.
VERBS = _words(
    "accelerate accept achieve add admit affect agree aim allow answer appear apply argue arrive ask assist attack "
    "attend avoid bake beat become begin believe belong bite blow boil borrow break breathe bring build burn buy call "
    "care carry cast catch cause change charge check choose clean climb close collect combine come compare complain "
    "complete connect consider contain continue contribute control convert cook copy correct cost count cover create "
    "cross cry cut dance deal debate decide define delete deliver describe design destroy determine develop die "
    "discover discuss display divide draw dream dress drink drive drop eat emit emphasize enable encourage end enjoy "
    "ensure enter establish evaluate examine exist expect explain explore express extend face fail fall feed feel "
    "fetch fight fill find finish fit fix fly focus fold follow force forget forgive form gain gather gaze generate "
    "get give go grow guess handle hang happen hate hear help hide hit hold hop hope hug hurt identify imagine "
    "improve include increase indicate inform insist inspire install intend interpret introduce invent invite involve "
    "iron join jump keep kick kill knock know lack land last laugh lay lead lean learn leave lend let lie lift light "
    "link list listen live load look lose love maintain make manage mark matter mean measure meet melt mention mind "
    "miss mix move mow name note notice obey obtain occur offer open order own pack paint park pass pay peel "
    "perceive perform pick place plan plant play point pour practice practise prefer prepare press prevent produce "
    "promise protect prove provide pull pursue push put rain raise reach read realise realize receive recognise "
    "recognize recommend reduce refer reflect refuse relate relax release rely remain remember remove repeat replace "
    "reply report represent require resolve rest restore retain retry return reveal reward ride ring rise roll run "
    "satisfy save say scatter scream seal search see seek seem sell send separate serve set settle shake share shine "
    "shoot shout show shut sing sit skip sleep slice smell smile snow solve sort sound speak spend spill spread stand "
    "start stay steal step stick stir stop store strengthen study submit succeed suffer suggest support suppose "
    "surprise surround sweep swim switch take talk taste teach tell tend test thank think threaten throw tie touch "
    "train transform translate travel treat trust try turn twist type understand update upload use vary verify visit "
    "wait wake walk want warn wash watch wear win wish wonder work worry wrap write yell"
)
PAST_FORMS = _words(
    "ate became began blew bought broke broken brought built burnt came caught chose chosen cost drank drawn drew "
    "driven drove eaten fallen fed fell felt flew forgot forgotten fought found gave given gone got grew grown heard "
    "held hid hidden hung kept knew known laid led left lent lost made meant met paid ran rang read rode rose said "
    "sang sat saw seen sent shaken shone shook shot shown slept sold sought spent spoke spoken stole stolen stood "
    "stuck swam taken taught thought threw thrown told took went woke woken won wore worn written wrote"
)
ADJECTIVES = _words(
    "able actual afraid alone angry annual bad bald best better big bitter black blue bold brave brief bright "
    "brilliant brown busy calm careful central certain cheap chief clean clear clever close cold common complex "
    "concrete cool correct current dark dead deaf dear deep delicious different difficult direct dirty double "
    "downstream dry dull dumb eager early eastern easy empty entire equal essential exact extra fair false familiar "
    "fast fat federal final fine firm flat foreign formal free fresh full fun funny further general gentle glad "
    "global gold golden good grand gray great green grey guilty half happy hard healthy heavy high hollow honest hot "
    "huge human hungry ill important innocent invalid keen key kind large last late lazy left legal light little "
    "local lonely long loose loud low loyal lucky mad main major mental mere mild minor modern moral narrow natural "
    "neat negative new next nice noisy normal northern odd old open other own pale particular perfect pink plain "
    "pleasant poor popular positive precise present pretty previous proud public pure purple quick quiet rapid rare "
    "raw ready real recent red regular remote rich right ripe rough round royal rude sad safe same scared separate "
    "serious shallow sharp short shy sick silent silly similar simple single slow small smart smooth social soft "
    "solid sore sour southern special specific square stale standard steady steep straight strange strict strong "
    "stupid sudden sure sweet tall tame tender thick thin tidy tight tiny tired total tough true ugly unique "
    "universal upset urgent usual vague various vast vital warm weak weird western wet white whole wide wild wise "
    "wrong yellow young"
)
# Nouns that look like an adverb, a participle, an adjective or a verb.
NOUNS = _words(
    "ability alternative animal article bed belly bill boundary bread breed building butterfly cable capital ceiling "
    "century city community country creed crystal culture data deed detective diary dictionary evening example "
    "executive exercise fable family feeling festival fish goal greed hatred hospital house individual "
    "information initiative island jelly journal king lamp language library lily magic manual material meaning "
    "meeting metal mineral moment money morning motive music native objective orange painting people person "
    "perspective picture procedure professional question reed reply ritual rival salary secretary seed shed shopping "
    "signal speed spring steed string summary table terminal thing topic traffic training tree trial vegetable "
    "village vocabulary water wedding weed wing"
)
